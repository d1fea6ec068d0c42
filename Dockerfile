# The service and what it needs to run. Nothing that built it gets into the image, and no secret is ever needed for it.
FROM python:3.13.11-slim-trixie AS base

FROM base AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# What changes seldom comes first: a change of our code builds only the last step anew.
COPY requirements.txt requirements-build.txt ./
RUN python -m venv tools \
    && tools/bin/python -m pip install --require-hashes --only-binary :all: -r requirements-build.txt \
    && python -m venv --without-pip /opt/recording-status \
    && tools/bin/python -m pip --python /opt/recording-status install \
       --no-compile --require-hashes --only-binary :all: -r requirements.txt
COPY pyproject.toml README.md ./
COPY app app
COPY migrations migrations
RUN tools/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && tools/bin/python -m pip --python /opt/recording-status install --no-compile --no-deps dist/*.whl
COPY deploy/alive.py /opt/recording-status/alive.py

# The list of what the image is made of, as CycloneDX: docker build --target sbom --output dist .
FROM build AS listing
COPY requirements-audit.txt ./
RUN python -m venv audit \
    && audit/bin/python -m pip install --require-hashes --only-binary :all: -r requirements-audit.txt \
    && audit/bin/python -m cyclonedx_py requirements requirements.txt --pyproject pyproject.toml \
       --output-reproducible -o recording-status.cdx.json

FROM scratch AS sbom
COPY --from=listing /build/recording-status.cdx.json /

FROM base
LABEL org.opencontainers.image.title="recording-status" \
      org.opencontainers.image.description="Certainty about ZEGOCLOUD Cloud Recording tasks"
# For SQLite, and for the demonstration. The user is a number, so that Kubernetes can see that it is not root.
RUN install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/recording-status /opt/recording-status
ENV PATH=/opt/recording-status/bin:$PATH \
    HOST=0.0.0.0 \
    LOG_FORMAT=json
# Later nothing can be written: what the service imports is compiled here instead of at each start, and only that. All
# that the packages bring besides would be a tenth of the image.
RUN recording-status --help >/dev/null \
    && python -c "import app.serving, app.provider.simulator, app.checks, app.commands.cli, asyncpg, cryptography.fernet" \
    && DATABASE_URL=sqlite+aiosqlite:////tmp/compiled.db recording-status migrate \
    && rm /tmp/compiled.db
# The default database, ./data/recordings.db, is thereby on the volume. DATABASE_URL is left unset: DATABASE_URL_FILE
# would have no effect beside it.
WORKDIR /
VOLUME /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-IS", "/opt/recording-status/alive.py"]
ENTRYPOINT ["recording-status"]
CMD ["serve"]
