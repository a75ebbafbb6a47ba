"""docs/operations/jobs.md lists the jobs that workers have, in their order."""

from service.worker.job_table import JOBS
from tests.docs.pages import ROOT


def test_page_has_a_row_for_each_job() -> None:
    page = (ROOT / "docs/operations/jobs.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    assert all(row[1] for row in rows)
    assert [[row[0], *row[2:]] for row in rows[2:]] == [
        [
            job.name,
            job.scope.value,
            f"{job.every_seconds:g} s",
            f"{job.limit_seconds:g} s",
            "" if job.hurry is None else job.hurry.value,
        ]
        for job in JOBS
    ]
