"""The cluster that failover tests stand on does what they count on."""

from tests.support.cluster import running_cluster


def test_what_was_committed_is_there_after_a_promotion_and_the_old_primary_has_the_lower_timeline():
    with running_cluster() as cluster:
        cluster.primary.sql("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('kept')")
        first = cluster.primary.timeline
        cluster.primary.kill()
        cluster.promote()
        assert cluster.primary.sql("SELECT text FROM notes") == "kept"
        assert cluster.primary.timeline == first + 1
        cluster.primary.sql("INSERT INTO notes VALUES ('new')")
        cluster.revive_old()
        assert cluster.standby.timeline == first
        cluster.standby.sql("INSERT INTO notes VALUES ('to be lost')")
        cluster.rebuild_standby()
        assert cluster.standby.sql("SELECT pg_is_in_recovery()") == "t"
        cluster.primary.kill()
        cluster.promote()
        assert cluster.primary.sql("SELECT text FROM notes ORDER BY text") == "kept\nnew"
        assert cluster.primary.timeline == first + 2
