"""A head that runs nothing, a data node and a training node, as separate raylets; up until standard input closes.

A program of its own, because Ray reads its authentication settings while it is imported.
"""

import socket
import sys

from ray.cluster_utils import Cluster

STORE_BYTES = 150 * 1024 * 1024

with socket.socket() as probe:  # the dashboard answers where work ran, and needs a port that nobody has
    probe.bind(("127.0.0.1", 0))
    dashboard_port = probe.getsockname()[1]

head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": True, "dashboard_port": dashboard_port}
cluster = Cluster(initialize_head=True, head_node_args=head)
cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES, resources={"decoder": 4})
cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, resources={"trainer": 1})
cluster.wait_for_nodes()
print(f"address {cluster.address}", flush=True)
sys.stdin.read()
cluster.shutdown()
