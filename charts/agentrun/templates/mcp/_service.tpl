{{/* What the Services of the chart have in common, and which of their values do not fit together. */}}

{{- define "agentrun.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy -}}
ipFamilyPolicy: {{ . }}
{{ end -}}
{{- with .Values.service.ipFamilies -}}
ipFamilies: {{ toJson . }}
{{- end -}}
{{- end }}

{{/* Refuse what Kubernetes would refuse, or ignore, after everything else is installed. */}}
{{- define "agentrun.checkService" -}}
{{- $service := .Values.mcpServer.service -}}
{{- range $field := list "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- if and (index $service $field) (ne $service.type "LoadBalancer") -}}
{{- fail (printf "mcpServer.service.%s is set, but mcpServer.service.type is %s. Set the type to LoadBalancer, or remove %s." $field $service.type $field) -}}
{{- end -}}
{{- end -}}
{{- range $field := list "externalTrafficPolicy" "nodePort" -}}
{{- if and (index $service $field) (eq $service.type "ClusterIP") -}}
{{- fail (printf "mcpServer.service.%s is set, but mcpServer.service.type is ClusterIP. Set the type to NodePort or LoadBalancer, or remove %s." $field $field) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The host names of the MCP server that it does not know by itself. */}}
{{- define "agentrun.allowedHosts" -}}
{{- $hosts := list (printf "%s.%s" (include "agentrun.mcp" .) .Release.Namespace) -}}
{{- if ne .Values.clusterDomain "cluster.local" -}}
{{- $hosts = append $hosts (printf ".svc.%s" .Values.clusterDomain) -}}
{{- end -}}
{{- concat $hosts .Values.mcpServer.allowedHosts | join "," -}}
{{- end }}
