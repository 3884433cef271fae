{{/* Where the MCP server keeps things, and what follows from it. An empty text means no. */}}

{{- define "agentrun.storeIsPostgres" -}}
{{- with .Values.mcpServer.store -}}
{{- if or .urlSecret.name (not (hasPrefix "sqlite" .url)) -}}yes{{- end -}}
{{- end -}}
{{- end }}

{{- define "agentrun.blobsAreInFolder" -}}
{{- if hasPrefix "file:" .Values.mcpServer.blobs.url -}}yes{{- end -}}
{{- end }}

{{/* Whether anything is kept on the pod's own volume, which one pod at a time may use. */}}
{{- define "agentrun.needsVolume" -}}
{{- if or (not (include "agentrun.storeIsPostgres" .)) (include "agentrun.blobsAreInFolder" .) -}}yes{{- end -}}
{{- end }}

{{/* Refuse what cannot work, and what would tell a password to everybody. */}}
{{- define "agentrun.checkStore" -}}
{{- $replicas := int .Values.mcpServer.replicas -}}
{{- $url := .Values.mcpServer.store.url -}}
{{- if or (regexMatch "://[^@/?]*:[^@/?]*@" $url) (regexMatch "[?&]password=" $url) -}}
{{- fail "mcpServer.store.url contains a password, which every user with permission to read the Deployment would see. Omit it and name its Secret in mcpServer.store.passwordSecret, or put the whole URL into a Secret and name that in mcpServer.store.urlSecret." -}}
{{- end -}}
{{- if and (gt $replicas 1) (not (include "agentrun.storeIsPostgres" .)) -}}
{{- fail (printf "mcpServer.replicas is %d, but SQLite supports one writer. Name a PostgreSQL database in mcpServer.store.url or mcpServer.store.urlSecret, or set mcpServer.replicas to 1." $replicas) -}}
{{- end -}}
{{- if and (gt $replicas 1) (include "agentrun.blobsAreInFolder" .) -}}
{{- fail (printf "mcpServer.replicas is %d, but a folder of blobs is available to one pod only. Set mcpServer.blobs.url to s3://BUCKET/PREFIX, or mcpServer.replicas to 1." $replicas) -}}
{{- end -}}
{{- end }}

{{- define "agentrun.storeEnvironment" -}}
{{- with .Values.mcpServer.store -}}
- name: AGENTRUN_STORE_URL
{{- if .urlSecret.name }}
  valueFrom:
    secretKeyRef: {name: {{ .urlSecret.name | quote }}, key: {{ .urlSecret.key | quote }}}
{{- else }}
  value: {{ .url | quote }}
{{- end }}
{{- if .passwordSecret.name }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .passwordSecret.name | quote }}, key: {{ .passwordSecret.key | quote }}}
{{- end }}
{{- if .caSecret.name }}
- name: PGSSLMODE
  value: verify-full
- name: PGSSLROOTCERT
  value: {{ printf "/etc/agentrun/database-ca/%s" .caSecret.key | quote }}
{{- end }}
{{- end }}
{{- with .Values.mcpServer.blobs }}
- name: AGENTRUN_BLOBS_URL
  value: {{ .url | quote }}
{{- with .region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
