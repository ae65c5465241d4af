"""`mesh up`, `mesh status`, `mesh down`."""


def test_nothing_runs_before_anybody_asks_and_looking_starts_nothing(mesh):
    status = mesh.json("status")
    assert status["running"] is False
    assert status["supervisor"] is None
    assert "not running" in mesh("status")
    assert not any(mesh.home.iterdir())


def test_up_leaves_the_engines_running_and_down_stops_them(mesh, servers_in):
    assert "started" in mesh("up")
    status = mesh.json("status")
    assert status["running"] is True
    assert status["kept"] is True
    assert {status["postgres"]["pid"], status["valkey"]["pid"]} <= set(servers_in(mesh.home))

    assert "already running" in mesh("up")
    assert mesh.json("status")["supervisor"] == status["supervisor"]

    assert "stopped" in mesh("down")
    assert servers_in(mesh.home) == []
    assert mesh.json("status")["running"] is False


def test_down_where_nothing_runs_is_done_already(mesh):
    assert "nothing runs" in mesh("down")


def test_up_refuses_when_the_environment_names_other_engines(mesh):
    mesh.environment["MESH_REDIS_URL"] = "redis://127.0.0.1:1/0"
    assert "unset both" in mesh.refused("up")


def test_up_brings_the_schema_along(mesh):
    mesh("up")
    done = mesh.json("migrate")
    assert done["before"] == done["after"] is not None
