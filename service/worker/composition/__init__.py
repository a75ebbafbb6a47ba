"""The parts of a worker, built area by area for `service/worker/server.py`. Nothing else builds concrete things."""
