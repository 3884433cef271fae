"""
Enforcement of NetworkPolicies on the development cluster's one node.

A stand-in for a network plugin that enforces them: the ones there are need ``queue`` in nftables,
which not every kernel has. It is for development only. What it supports: IPv4, Ingress and
Egress, selectors of pods and namespaces, blocks of addresses with exceptions, ports by number and
range. What it does not: ports by name (they match nothing, so such traffic is refused), IPv6
(refused between pods and their node), connections that were open before a policy came (they go
on). Like any plugin's, its rules come a moment after a pod has its address.
"""
