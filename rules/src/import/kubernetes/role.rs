//! Which kinds of object have a part in a policy, and which have none. What is in neither list is refused: it may decide
//! what is admitted.

/// What part an object has in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Namespace,
    Pod,
    Template,
    NetworkPolicy,
    ClusterPolicy,
    /// None.
    Irrelevant,
}

impl Role {
    /// `None` for what is not known, and may decide what is admitted.
    pub(super) fn of(group: &str, api_version: &str, kind: &str) -> Option<Self> {
        Some(match (group, kind) {
            ("", "Namespace") => Self::Namespace,
            ("", "Pod") => Self::Pod,
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("", "ReplicationController")
            | ("batch", "Job" | "CronJob") => Self::Template,
            ("networking.k8s.io", "NetworkPolicy") if api_version == "networking.k8s.io/v1" => {
                Self::NetworkPolicy
            }
            (
                "policy.networking.k8s.io",
                "ClusterNetworkPolicy" | "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy",
            ) => Self::ClusterPolicy,
            (
                "",
                "Service"
                | "ConfigMap"
                | "Secret"
                | "ServiceAccount"
                | "Node"
                | "Event"
                | "Endpoints"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "LimitRange"
                | "ResourceQuota"
                | "PodTemplate"
                | "ComponentStatus",
            )
            | ("networking.k8s.io", "Ingress" | "IngressClass" | "IPAddress" | "ServiceCIDR")
            | ("apps", "ControllerRevision")
            | (
                "rbac.authorization.k8s.io"
                | "storage.k8s.io"
                | "autoscaling"
                | "policy"
                | "coordination.k8s.io"
                | "discovery.k8s.io"
                | "events.k8s.io"
                | "scheduling.k8s.io"
                | "apiextensions.k8s.io"
                | "apiregistration.k8s.io"
                | "admissionregistration.k8s.io"
                | "node.k8s.io"
                | "certificates.k8s.io",
                _,
            ) => Self::Irrelevant,
            _ => return None,
        })
    }

    pub(super) fn is_cluster_wide(self) -> bool {
        matches!(self, Self::Namespace | Self::ClusterPolicy)
    }
}
