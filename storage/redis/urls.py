"""What a URL of Redis or Valkey must be. Pure; what is common to all URLs is in `storage/urls.py`."""

from storage.urls import UrlError, split_url

SCHEMES = ("redis", "rediss", "unix")


def check_redis_url(text: str) -> None:
    """Checks a URL before anything connects.

    redis://user:password@host:6379/0, rediss:// for TLS, unix:///run/redis.sock?db=0

    Raises:
        UrlError: it can't be used.
    """
    url = split_url(text, SCHEMES)
    if url.scheme == "unix":
        if url.hosts or len(url.path) < 2:
            raise UrlError("must have three slashes and the path of the socket: unix:///run/redis.sock")
        return
    if len(url.hosts) != 1 or url.hosts[0].is_socket:
        raise UrlError(f"must name one host: {url.scheme}://host:6379/0")
    number = url.path.removeprefix("/")
    if number and not (number.isascii() and number.isdigit()):
        raise UrlError("must have the number of a database after the host, or nothing: /0")
