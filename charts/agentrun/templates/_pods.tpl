{{/* What the pods of the chart have in common. */}}

{{/* The reference of an image. Call with the root and its name in the values: (list $ "runner"). */}}
{{- define "agentrun.image" -}}
{{- $image := index (first .).Values.images (last .) -}}
{{- if or (contains "@" $image.repository) (contains ":" (base $image.repository)) -}}
{{- fail (printf "images.%s.repository is %s, which contains a tag or a digest. Set them in images.%s.tag and images.%s.digest." (last .) $image.repository (last .) (last .)) -}}
{{- end -}}
{{- if not $image.digest -}}
{{ $image.repository }}:{{ $image.tag | default (first .).Chart.AppVersion }}
{{- else if contains "@" $image.tag -}}
{{- fail (printf "images.%s.tag and images.%s.digest both contain a digest. Remove it from the tag." (last .) (last .)) -}}
{{- else -}}
{{ $image.repository }}{{ with $image.tag }}:{{ . }}{{ end }}@{{ $image.digest }}
{{- end -}}
{{- end }}

{{/* The spec of every pod of the chart. Call with the root and the part whose `pod` value applies. */}}
{{- define "agentrun.podSpec" -}}
{{- $pod := index (first .).Values (last .) "pod" -}}
# A Service named like the release would set variables with the prefix of the programs' settings.
enableServiceLinks: false
{{- with (first .).Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $pod $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
securityContext:
  {{- toYaml $pod.securityContext | nindent 2 }}
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

{{/* The resources of a container as JSON, their quantities as strings. Call with the value. */}}
{{- define "agentrun.resources" -}}
{{- $resources := dict -}}
{{- range $kind, $quantities := . -}}
{{- $strings := dict -}}
{{- range $name, $quantity := $quantities -}}
{{- /* Not toString, which writes large numbers with an exponent. */ -}}
{{- $_ := set $strings $name (toJson $quantity | trimAll "\"") -}}
{{- end -}}
{{- $_ := set $resources $kind $strings -}}
{{- end -}}
{{- toJson $resources -}}
{{- end }}
