"""One small Ray cluster for the tests that need it."""

import shutil
import tempfile

import pytest


@pytest.fixture(scope="session")
def ray_cluster():
    """Four logical CPUs in this process's own cluster; the folder is short because sockets live in it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_AUTH_MODE": "disabled"}.items():
            patch.setenv(name, value)
        folder = tempfile.mkdtemp(prefix="star-", dir="/tmp")
        ray.init(
            address="local",
            num_cpus=4,
            object_store_memory=200 << 20,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
