# An image of the server, with its embedded PostgreSQL and Valkey for when no URLs are given.
#
#   docker build --build-arg PARLEY_COMMIT=$(git rev-parse HEAD) -t parley .
#   docker run --init --stop-timeout 20 -p 50051:50051 -v parley:/var/lib/parley -e PARLEY_TLS_ALLOW_PLAINTEXT=true parley
#
# In a container the server listens beyond loopback, so it wants TLS files (PARLEY_TLS_CERTIFICATE_FILE,
# PARLEY_TLS_KEY_FILE), or the word above that a proxy ends TLS. Databases of your own: PARLEY_DATABASE_URL,
# PARLEY_REDIS_URL, given at run time. Nothing secret is in the image: keys are made in the volume at the first start.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/parley
COPY requirements.lock ./
RUN /opt/parley/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY storage storage
COPY clients/python/pyproject.toml clients/python/README.md clients/python/
COPY clients/python/parley clients/python/parley
RUN /opt/parley/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . ./clients/python \
  && /opt/parley/bin/pip uninstall --yes --quiet hatchling editables prompt_toolkit wcwidth

FROM python:${PYTHON}-slim-bookworm
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin parley \
  && install --directory --owner parley --group parley --mode 0700 /var/lib/parley
COPY --from=build /opt/parley /opt/parley
# What GetServerInfo tells as the commit.
ARG PARLEY_COMMIT=
ENV PATH=/opt/parley/bin:$PATH \
    PARLEY_COMMIT=$PARLEY_COMMIT \
    PYTHONDONTWRITEBYTECODE=1 \
    PARLEY_LISTEN=0.0.0.0:50051 \
    PARLEY_DATA_DIR=/var/lib/parley \
    PARLEY_LOG_FORMAT=json
USER parley
WORKDIR /var/lib/parley
VOLUME /var/lib/parley
EXPOSE 50051
STOPSIGNAL SIGTERM
# A first start makes a database cluster.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["parley", "health"]
ENTRYPOINT ["parley"]
CMD ["serve"]
