"""
Enforcement of NetworkPolicies on the development cluster's one node.

It replaces a network plugin that enforces them: the existing ones need ``queue`` in nftables, which
not every kernel has. It is for development only. Supported: IPv4, Ingress and Egress, pod and
namespace selectors, IP blocks with exceptions, port numbers and ranges. Not supported: named ports
(they match nothing, so such traffic is denied), IPv6 (denied between pods and their node), and
connections that were open before a policy was created (they continue). As with any plugin, the
rules are applied a moment after a pod has its address.
"""
