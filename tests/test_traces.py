"""OpenTelemetry traces, which FastAPI makes by itself if it is told to."""

from __future__ import annotations

from pathlib import Path

from tests.test_operation import environment, program


async def test_the_service_lets_fastapi_set_up_its_traces_and_starts_without_their_packages_too(tmp_path: Path) -> None:
    switched_on = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    async with program(tmp_path, "serve", "--port", "0", env=environment(tmp_path, **switched_on)) as process:
        await process.until_ready()
        assert await process.end() == 0
    assert "requires fastapi[opentelemetry]" in process.said
