// Compiled, never run: what a caller in TypeScript would write against the generated types.
import type { components, operations, paths, webhooks } from "./api";

type Task = components["schemas"]["Task"];
type Waited = paths["/v1/tasks/{task_id}"]["get"]["responses"][200]["content"]["application/json"];
type Sent = NonNullable<webhooks["task.settled"]["post"]["requestBody"]>["content"]["application/json"];

export function link(task: Waited): string | null {
  const same: Task = task;
  return same.outcome === "uploaded" ? (same.files?.[0]?.file_url ?? null) : null;
}

export const registration: operations["registerTask"]["requestBody"]["content"]["application/json"] = {
  task_id: "awXfC80HLNi-b59i",
  labels: { team: "support" },
};

export const version = (sent: Sent): number | null => sent.data.task_version;

// @ts-expect-error: no such word
export const wrong: components["schemas"]["Tracking"] = "typo";
