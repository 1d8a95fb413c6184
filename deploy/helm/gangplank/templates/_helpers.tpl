{{- define "gangplank.labels" -}}
app.kubernetes.io/name: gangplank
app.kubernetes.io/part-of: gangplank
{{- end }}

{{- define "gangplank.selector" -}}
app.kubernetes.io/name: gangplank
app.kubernetes.io/component: scheduler
{{- end }}

{{- define "gangplank.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "gangplank.subject" -}}
- kind: ServiceAccount
  name: gangplank
  namespace: {{ .Release.Namespace }}
{{- end }}
