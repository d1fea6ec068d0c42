// What is registered under a task id, in a room, or of a user.

import { Refused, get } from "./api.js";
import { h, show } from "./dom.js";
import { tasksTable } from "./tables.js";
import { taskAddress } from "./words.js";

const TASK_ID = /^[A-Za-z0-9_-]{16}$/;
const MOST = 50;

export function searchPage(place, { failed }, wanted) {
  const body = h("div");
  place.replaceChildren(h("h1", null, "Search: ", h("span", { class: "id" }, wanted)), body);

  async function load() {
    try {
      const [byId, inRoom, ofUser] = await Promise.all([
        TASK_ID.test(wanted) ? get("/v1/tasks", { task_id: wanted }) : { items: [] },
        get("/v1/tasks", { room_id: wanted, limit: MOST }),
        get("/v1/tasks", { user_id: wanted, limit: MOST }),
      ]);
      if (byId.items.length && !inRoom.items.length && !ofUser.items.length) {
        location.replace(taskAddress(wanted));
        return;
      }
      const kinds = [["With this id", byId], ["In this room", inRoom], ["With a file of this user", ofUser]];
      const found = kinds.filter(([, { items }]) => items.length);
      show(body, found.map(([title, { items, next_cursor: more }]) => h("section", { class: "panel" },
        h("h2", null, title), tasksTable(items, title), more && h("p", { class: "quiet" }, `The ${MOST} newest are shown.`))),
      found.length === 0 && h("p", { role: "status" },
        "No registered task has this id, room or user. They are searched for as they are, not by parts of them."));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) failed(error);
      show(body, h("p", { class: "fault", role: "alert" }, `Not to be searched for: ${error.message}`));
    }
  }

  return { title: `Search: ${wanted}`, load, often: () => {}, seldom: () => {}, heard: () => [], again: load };
}
