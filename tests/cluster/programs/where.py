"""Print as JSON on which nodes, named by what they declare, training workers and tasks of finished jobs ran."""

import json

import ray
from ray.util.state import list_actors, list_tasks

ray.init(log_to_driver=False)


def name(resources):
    """Name a node."""
    if "node:__internal_head__" in resources:
        return "head"
    return "trainer" if "trainer" in resources else "decoder"


nodes = {node["NodeID"]: name(node["Resources"]) for node in ray.nodes()}
actors = [actor for actor in list_actors(detail=True, limit=1000) if actor.class_name == "RayTrainWorker"]
tasks = [task for task in list_tasks(detail=True, limit=10_000) if task.node_id and task.type == "NORMAL_TASK"]
ran = {name: sorted({nodes[task.node_id] for task in tasks if task.name == name}) for name in {t.name for t in tasks}}
print(json.dumps({"workers": sorted({nodes[actor.node_id] for actor in actors}), "tasks": ran}))
