{{/* The specs of the default AgentProfiles, by name, as JSON. */}}
{{- define "agentrun.profileSpecs" -}}
{{- $specs := dict -}}
{{- $backends := dict "codex" "codex" "claudeCode" "claude_code" "opencode" "opencode" "gemini" "gemini" -}}
{{- range $name, $backend := $backends -}}
{{- $profile := index $.Values.profiles $name -}}
{{- if $profile.enabled -}}
{{- $spec := include "agentrun.profileSpec" (dict "root" $ "backend" $backend "profile" $profile) -}}
{{- $_ := set $specs ($backend | replace "_" "-") (fromJson $spec) -}}
{{- end -}}
{{- end -}}
{{- toJson $specs -}}
{{- end }}

{{- define "agentrun.profileSpec" -}}
{{- $isMore := has .backend (list "opencode" "gemini") -}}
{{- $agent := ternary "agentMore" "agent" $isMore -}}
{{- $image := include "agentrun.image" (list .root $agent) -}}
{{- $provider := dict -}}
{{- with (.profile.provider).baseURL }}{{ $_ := set $provider "baseURL" . }}{{ end -}}
{{- with (.profile.provider).keySecret }}{{ $_ := set $provider "keySecret" . }}{{ end -}}
{{- $models := dict -}}
{{- with (.profile.models).default }}{{ $_ := set $models "default" . }}{{ end -}}
{{- $spec := dict
  "backend" .backend
  "image" (.profile.image | default $image)
  "imagePullPolicy" (index .root.Values.images $agent).pullPolicy
  "imagePullSecrets" .root.Values.imagePullSecrets
  "models" $models
  "provider" $provider
  "resources" (include "agentrun.resources" .profile.resources | fromJson)
-}}
{{- /* The spec in the values takes precedence over what the chart derives from the other values. */ -}}
{{- toJson (mergeOverwrite $spec (deepCopy (.profile.spec | default dict))) -}}
{{- end }}

{{/* The labels by which the hook knows the profiles that are the release's own. */}}
{{- define "agentrun.profileLabels" -}}
{{- toJson (include "agentrun.selector" (list . "profiles") | fromYaml) -}}
{{- end }}

{{/* The annotations of the hook's parts; call with the weight. */}}
{{- define "agentrun.profilesHook" -}}
helm.sh/hook: post-install,post-upgrade,post-rollback
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
