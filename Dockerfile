# One image for every process of sealdesk; which one it is, the command says. It was not built where there was no engine:
# tests/acceptance/test_compose.py starts the same commands as processes.
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/sealdesk
WORKDIR /src
# First what changes seldom: every dependency by its version and hash, and nothing that is built here.
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/sealdesk/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY . .
RUN /opt/sealdesk/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13-slim-bookworm
RUN groupadd --gid 10001 sealdesk \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sealdesk \
    && for folder in roots ledger signing blobs; do \
           install -d -o sealdesk -g sealdesk -m 0700 /var/lib/sealdesk/$folder; \
       done
COPY --from=build /opt/sealdesk /opt/sealdesk
ENV PATH=/opt/sealdesk/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 9464
ENTRYPOINT ["sealdesk"]
CMD ["--help"]
