"""Field numbers of the messages that typed clients send; see ``protobuf`` for the notation."""

from __future__ import annotations

_META = "1:metadata:ObjectMeta"
TABLES: dict[str, str] = {
    "ObjectMeta": "1:name:s 2:generateName:s 3:namespace:s 5:uid:s 6:resourceVersion:s "
    "7:generation:z 8:creationTimestamp:t 9:deletionTimestamp:t 10:deletionGracePeriodSeconds:i "
    "11:labels:m 12:annotations:m 13:ownerReferences:*OwnerReference 14:finalizers:*s",
    "OwnerReference": "1:kind:s 3:name:s 4:uid:s 5:apiVersion:s 6:controller:b "
    "7:blockOwnerDeletion:b",
    "LabelSelector": "1:matchLabels:m 2:matchExpressions:*LabelSelectorRequirement",
    "LabelSelectorRequirement": "1:key:s 2:operator:s 3:values:*s",
    "DeleteOptions": "1:gracePeriodSeconds:i 2:preconditions:Preconditions 3:orphanDependents:b "
    "4:propagationPolicy:s 5:dryRun:*s",
    "Preconditions": "1:uid:s 2:resourceVersion:s",
    "Namespace": f"{_META} 2:spec:NamespaceSpec 3:status:-",
    "NamespaceSpec": "1:finalizers:*s",
    "ConfigMap": f"{_META} 2:data:m 3:binaryData:my 4:immutable:b",
    "Secret": f"{_META} 2:data:my 3:type:s 4:stringData:m 5:immutable:b",
    "ServiceAccount": f"{_META} 3:imagePullSecrets:*LocalObjectReference "
    "4:automountServiceAccountToken:b",
    "LocalObjectReference": "1:name:s",
    "Service": f"{_META} 2:spec:ServiceSpec 3:status:-",
    "ServiceSpec": "1:ports:*ServicePort 2:selector:m 3:clusterIP:s 4:type:s 5:externalIPs:*s "
    "7:sessionAffinity:s 10:externalName:s 13:publishNotReadyAddresses:b 17:ipFamilyPolicy:s "
    "18:clusterIPs:*s 19:ipFamilies:*s 22:internalTrafficPolicy:s",
    "ServicePort": "1:name:s 2:protocol:s 3:port:z 4:targetPort:n 5:nodePort:z 6:appProtocol:s",
    "Job": f"{_META} 2:spec:JobSpec 3:status:-",
    "JobSpec": "1:parallelism:i 2:completions:i 3:activeDeadlineSeconds:i 4:selector:LabelSelector "
    "5:manualSelector:b 6:template:PodTemplateSpec 7:backoffLimit:i 8:ttlSecondsAfterFinished:i "
    "9:completionMode:s 10:suspend:b 14:podReplacementPolicy:s",
    "Deployment": f"{_META} 2:spec:DeploymentSpec 3:status:-",
    "DeploymentSpec": "1:replicas:i 2:selector:LabelSelector 3:template:PodTemplateSpec "
    "4:strategy:DeploymentStrategy 5:minReadySeconds:z 6:revisionHistoryLimit:i 7:paused:b "
    "9:progressDeadlineSeconds:i",
    "DeploymentStrategy": "1:type:s 2:rollingUpdate:RollingUpdateDeployment",
    "RollingUpdateDeployment": "1:maxUnavailable:n 2:maxSurge:n",
    "Pod": f"{_META} 2:spec:PodSpec 3:status:-",
    "PodTemplateSpec": f"{_META} 2:spec:PodSpec",
    "PodSpec": "1:volumes:*Volume 2:containers:*Container 3:restartPolicy:s "
    "4:terminationGracePeriodSeconds:i 5:activeDeadlineSeconds:i 6:dnsPolicy:s 7:nodeSelector:m "
    "8:serviceAccountName:s 9:serviceAccount:s 10:nodeName:s 11:hostNetwork:b "
    "14:securityContext:PodSecurityContext 18:affinity:Affinity "
    "15:imagePullSecrets:*LocalObjectReference 16:hostname:s 17:subdomain:s 19:schedulerName:s "
    "20:initContainers:*Container 21:automountServiceAccountToken:b 22:tolerations:*Toleration "
    "24:priorityClassName:s 25:priority:i 30:enableServiceLinks:b",
    "Container": "1:name:s 2:image:s 3:command:*s 4:args:*s 5:workingDir:s "
    "6:ports:*ContainerPort 7:env:*EnvVar 8:resources:ResourceRequirements "
    "9:volumeMounts:*VolumeMount 10:livenessProbe:Probe 11:readinessProbe:Probe "
    "13:terminationMessagePath:s 14:imagePullPolicy:s 15:securityContext:SecurityContext "
    "16:stdin:b 17:stdinOnce:b 18:tty:b 19:envFrom:*EnvFromSource "
    "20:terminationMessagePolicy:s 22:startupProbe:Probe 24:restartPolicy:s",
    "Probe": "1::ProbeHandler 2:initialDelaySeconds:z 3:timeoutSeconds:z 4:periodSeconds:z "
    "5:successThreshold:z 6:failureThreshold:z 7:terminationGracePeriodSeconds:i",
    "ProbeHandler": "1:exec:Exec 2:httpGet:HttpGet 3:tcpSocket:TcpSocket",
    "Exec": "1:command:*s",
    "HttpGet": "1:path:s 2:port:n 3:host:s 4:scheme:s 5:httpHeaders:*HttpHeader",
    "HttpHeader": "1:name:s 2:value:s",
    "TcpSocket": "1:port:n 2:host:s",
    "SecurityContext": "1:capabilities:Capabilities 2:privileged:b 4:runAsUser:i 5:runAsNonRoot:b "
    "6:readOnlyRootFilesystem:b 7:allowPrivilegeEscalation:b 8:runAsGroup:i 9:procMount:s",
    "Capabilities": "1:add:*s 2:drop:*s",
    "PodSecurityContext": "2:runAsUser:i 3:runAsNonRoot:b 4:supplementalGroups:*i 5:fsGroup:i "
    "6:runAsGroup:i 9:fsGroupChangePolicy:s",
    "Affinity": "1:nodeAffinity:NodeAffinity",
    "NodeAffinity": "1:requiredDuringSchedulingIgnoredDuringExecution:NodeSelector",
    "NodeSelector": "1:nodeSelectorTerms:*NodeSelectorTerm",
    "NodeSelectorTerm": "1:matchExpressions:*LabelSelectorRequirement "
    "2:matchFields:*LabelSelectorRequirement",
    "ContainerPort": "1:name:s 2:hostPort:z 3:containerPort:z 4:protocol:s 5:hostIP:s",
    "EnvVar": "1:name:s 2:value:s 3:valueFrom:EnvVarSource",
    "EnvVarSource": "1:fieldRef:ObjectFieldSelector 2:resourceFieldRef:ResourceFieldSelector "
    "3:configMapKeyRef:KeySelector "
    "4:secretKeyRef:KeySelector",
    "ObjectFieldSelector": "1:apiVersion:s 2:fieldPath:s",
    "ResourceFieldSelector": "1:containerName:s 2:resource:s 3:divisor:q",
    "KeySelector": "1::LocalObjectReference 2:key:s 3:optional:b",
    "EnvFromSource": "1:prefix:s 2:configMapRef:EnvSource 3:secretRef:EnvSource",
    "EnvSource": "1::LocalObjectReference 2:optional:b",
    "ResourceRequirements": "1:limits:mq 2:requests:mq",
    "VolumeMount": "1:name:s 2:readOnly:b 3:mountPath:s 4:subPath:s",
    "Volume": "1:name:s 2::VolumeSource",
    "VolumeSource": "1:hostPath:HostPath 2:emptyDir:EmptyDir 6:secret:SecretVolume "
    "10:persistentVolumeClaim:ClaimVolume 19:configMap:ConfigMapVolume",
    "HostPath": "1:path:s 2:type:s",
    "EmptyDir": "1:medium:s 2:sizeLimit:q",
    "SecretVolume": "1:secretName:s 2:items:*KeyToPath 3:defaultMode:i 4:optional:b",
    "ConfigMapVolume": "1::LocalObjectReference 2:items:*KeyToPath 3:defaultMode:i 4:optional:b",
    "KeyToPath": "1:key:s 2:path:s 3:mode:i",
    "ClaimVolume": "1:claimName:s 2:readOnly:b",
    "Toleration": "1:key:s 2:operator:s 3:value:s 4:effect:s 5:tolerationSeconds:i",
    "Event": f"{_META} 2:involvedObject:ObjectReference 3:reason:s 4:message:s "
    "5:source:EventSource 6:firstTimestamp:t 7:lastTimestamp:t 8:count:z 9:type:s 10:eventTime:u "
    "12:action:s 14:reportingComponent:s 15:reportingInstance:s",
    "events.k8s.io/Event": f"{_META} 2:eventTime:u 4:reportingController:s "
    "5:reportingInstance:s 6:action:s 7:reason:s 8:regarding:ObjectReference "
    "9:related:ObjectReference 10:note:s 11:type:s 12:deprecatedSource:EventSource "
    "13:deprecatedFirstTimestamp:t 14:deprecatedLastTimestamp:t 15:deprecatedCount:z",
    "EventSource": "1:component:s 2:host:s",
    "ObjectReference": "1:kind:s 2:namespace:s 3:name:s 4:uid:s 5:apiVersion:s "
    "6:resourceVersion:s 7:fieldPath:s",
    "Lease": f"{_META} 2:spec:LeaseSpec",
    "LeaseSpec": "1:holderIdentity:s 2:leaseDurationSeconds:i 3:acquireTime:u 4:renewTime:u "
    "5:leaseTransitions:i",
    "Role": f"{_META} 2:rules:*PolicyRule",
    "ClusterRole": f"{_META} 2:rules:*PolicyRule",
    "RoleBinding": f"{_META} 2:subjects:*Subject 3:roleRef:RoleRef",
    "ClusterRoleBinding": f"{_META} 2:subjects:*Subject 3:roleRef:RoleRef",
    "PolicyRule": "1:verbs:*s 2:apiGroups:*s 3:resources:*s 4:resourceNames:*s "
    "5:nonResourceURLs:*s",
    "Subject": "1:kind:s 2:apiGroup:s 3:name:s 4:namespace:s",
    "RoleRef": "1:apiGroup:s 2:kind:s 3:name:s",
    "SelfSubjectAccessReview": f"{_META} 2:spec:SelfSubjectAccessReviewSpec 3:status:-",
    "SelfSubjectAccessReviewSpec": "1:resourceAttributes:ResourceAttributes "
    "2:nonResourceAttributes:NonResourceAttributes",
    "ResourceAttributes": "1:namespace:s 2:verb:s 3:group:s 4:version:s 5:resource:s "
    "6:subresource:s 7:name:s",
    "NonResourceAttributes": "1:path:s 2:verb:s",
    "PriorityClass": f"{_META} 2:value:i 3:globalDefault:b 4:description:s 5:preemptionPolicy:s",
    "Eviction": f"{_META} 2:deleteOptions:DeleteOptions",
    "TokenRequest": f"{_META} 2:spec:TokenRequestSpec 3:status:-",
    "TokenRequestSpec": "1:audiences:*s 4:expirationSeconds:i",
}
