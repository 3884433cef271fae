{{/* All names and labels of the chart. */}}

{{- define "agentrun.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "agentrun.operator" -}}{{ include "agentrun.name" . }}-operator{{- end }}

{{- define "agentrun.mcp" -}}{{ include "agentrun.name" . }}-mcp{{- end }}

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
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "agentrun.labels" -}}
{{- $root := first . -}}
{{ include "agentrun.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The names of the admission policies, asked for with the root and what they are about. */}}
{{- define "agentrun.admission" -}}
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
