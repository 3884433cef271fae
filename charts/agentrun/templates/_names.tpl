{{/* All names and labels of the chart. */}}

{{/* A DNS-1035 label, as Services need it: no dots, and a letter first. The release may have both. */}}
{{- define "agentrun.name" -}}
{{- $name := printf "%s-%s" .Release.Name .Chart.Name -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- $name = .Release.Name -}}
{{- end -}}
{{- $name = regexReplaceAll "[._]" (lower $name) "-" -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "agentrun-%s" $name -}}
{{- end -}}
{{- trunc 40 $name | trimSuffix "-" -}}
{{- end }}

{{- define "agentrun.operator" -}}{{ include "agentrun.name" . }}-operator{{- end }}

{{- define "agentrun.mcp" -}}{{ include "agentrun.name" . }}-mcp{{- end }}

{{- define "agentrun.external" -}}{{ include "agentrun.mcp" . }}-external{{- end }}

{{/* Cluster-wide names carry the namespace, so that two releases do not meet. */}}
{{- define "agentrun.tokenReviewer" -}}{{ .Release.Namespace }}-{{ include "agentrun.mcp" . }}-token-reviewer{{- end }}

{{- define "agentrun.runs" -}}{{ include "agentrun.name" . }}-runs{{- end }}

{{- define "agentrun.profiles" -}}{{ include "agentrun.name" . }}-profiles{{- end }}

{{- define "agentrun.test" -}}{{ include "agentrun.name" . }}-test{{- end }}

{{- define "agentrun.claim" -}}
{{- .Values.mcpServer.persistence.existingClaim | default (include "agentrun.mcp" .) -}}
{{- end }}

{{/* What every program must agree on: clients make tokens of it by this name. */}}
{{- define "agentrun.client" -}}agentrun-client{{- end }}

{{- define "agentrun.user" -}}{{ include "agentrun.name" . }}-user{{- end }}

{{- define "agentrun.tokenMaker" -}}{{ include "agentrun.name" . }}-user-token{{- end }}

{{/* Labels are asked for with the root and the component: (list $ "operator"). */}}
{{- define "agentrun.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ $root.Chart.Name | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "agentrun.labels" -}}
{{- $root := first . -}}
{{- /* As a dependency the chart has its alias for a name, by which no program would find it. */ -}}
app.kubernetes.io/name: agentrun
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service | quote }}
helm.sh/chart: {{ printf "agentrun-%s" $root.Chart.Version | replace "+" "_" | trunc 63 | quote }}
{{- end }}

{{/* Names of what has no namespace, asked for with the root and what they are about. */}}
{{- define "agentrun.clusterWide" -}}
{{- $root := first . -}}
{{ $root.Release.Namespace }}-{{ include "agentrun.name" $root }}-{{ last . }}
{{- end }}

{{/* Where the admission policies hold. */}}
{{- define "agentrun.inRunNamespaces" -}}
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{ toJson .Values.runNamespaces }}
{{- end }}

{{/* In CEL: whether it is the MCP server that asks. */}}
{{- define "agentrun.asksFrontDoor" -}}
request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "agentrun.mcp" . }}'
{{- end }}
