# The production image: one for web, worker, beat and migrate. `docker compose up` builds it; see docs/operating.md.
FROM python:3.13.9-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN ["python", "-m", "venv", "/opt/mailer"]
# The packages first: they change more rarely than our own code.
COPY requirements/production.lock requirements/
RUN ["/opt/mailer/bin/pip", "install", "--require-hashes", "--requirement", "requirements/production.lock"]
COPY pyproject.toml README.md LICENSE ./
COPY templates templates
COPY workers workers
COPY mailer mailer
RUN /opt/mailer/bin/pip wheel --no-deps --wheel-dir dist . && /opt/mailer/bin/pip install --no-deps dist/*.whl

FROM python:3.13.9-slim-trixie

RUN groupadd --gid 10001 mailer \
    && useradd --uid 10001 --gid mailer --home-dir /var/lib/mailer --no-create-home --shell /usr/sbin/nologin mailer \
    # A new named volume takes its owner from here.
    && install --directory --owner mailer --group mailer /var/lib/mailer /var/lib/mailer/journal
COPY --from=build /opt/mailer /opt/mailer
ENV PATH=/opt/mailer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MAILER_JOURNAL_DIR=/var/lib/mailer/journal
USER 10001:10001
WORKDIR /var/lib/mailer
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "--no-proxy-headers", "--no-server-header", "--timeout-graceful-shutdown", "5", "--host", "0.0.0.0", "--port", "8000", "mailer.web.app:app"]
