{{/* Who may call the MCP server, as a JSON list of subjects: nobody who is not in it. */}}

{{- define "agentrun.access" -}}
{{- $subjects := list -}}
{{- if .Values.clientServiceAccount -}}
{{- range .Values.runNamespaces -}}
{{- $subjects = append $subjects (dict "kind" "ServiceAccount" "name" (include "agentrun.client" $) "namespace" .) -}}
{{- end -}}
{{- end -}}
{{- range concat .Values.users.subjects .Values.mcpServer.access.subjects -}}
{{- $subject := pick . "kind" "name" -}}
{{- if eq .kind "ServiceAccount" -}}
{{- if not .namespace -}}
{{- fail (printf "ServiceAccount %s in users.subjects or mcpServer.access.subjects has no namespace: set its namespace." .name) -}}
{{- end -}}
{{- $_ := set $subject "namespace" .namespace -}}
{{- end -}}
{{- $subjects = append $subjects $subject -}}
{{- end -}}
{{- $subjects | uniq | toJson -}}
{{- end }}
