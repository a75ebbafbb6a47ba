#!/bin/sh
# Makes what compose.yaml needs and git must not have: a password, a certificate for localhost.
# What is there is kept.
set -eu
cd "$(dirname "$0")"
umask 077
if [ ! -e postgres.env ]; then
  password=$(openssl rand -hex 24)
  echo "PARLEY_DATABASE_URL=postgresql://parley:$password@postgres/parley" >parley.env
  echo "POSTGRES_PASSWORD=$password" >postgres.env
fi
if [ ! -e tls/tls.crt ]; then
  mkdir -p tls
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout tls/tls.key -out tls/tls.crt 2>/dev/null
  chmod 755 tls
  chmod 644 tls/tls.key tls/tls.crt # Envoy's image runs as a user of its own
fi
