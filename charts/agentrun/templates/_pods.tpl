{{/* What the pods of the chart have in common. */}}

{{/* Call with (dict "root" $ "image" .Values.images.X). */}}
{{- define "agentrun.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "agentrun.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "agentrun.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What a part's `pod` value adds to the metadata of its pods. The chart's own labels stand. */}}
{{- define "agentrun.podMetadata" -}}
{{- $root := first . -}}
{{- $pod := index $root.Values (index . 1) "pod" -}}
labels:
  # Not the chart's version: a pod is replaced when it changes itself, not with each release.
  {{- merge (include "agentrun.selector" (list $root (last .)) | fromYaml) $pod.labels | toYaml | nindent 2 }}
{{- with $pod.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a part's pods may run. Call with (list $ "mcpServer"). */}}
{{- define "agentrun.placement" -}}
{{- $pod := index (first .).Values (last .) "pod" -}}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $pod $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "agentrun.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
