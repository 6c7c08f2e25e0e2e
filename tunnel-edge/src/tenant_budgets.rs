//! What the sessions of one tenant may hold together, so that others are left the rest.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use certs::Label;
use parking_lot::Mutex;
use relay::session::SharedBudget;

/// The budgets of all tenants that have sessions, each within the process's.
#[derive(Debug)]
pub(crate) struct TenantBudgets {
    process: Arc<SharedBudget>,
    each: u64,
    tenants: Mutex<HashMap<Label, Weak<SharedBudget>>>,
}

impl TenantBudgets {
    /// At most `each` bytes for a tenant; half of what the process has if that is `None`.
    pub(crate) fn new(process: Arc<SharedBudget>, each: Option<u64>) -> Self {
        Self {
            each: each.unwrap_or(process.limit() / 2),
            process,
            tenants: Mutex::default(),
        }
    }

    /// A tenant's: the same one for as long as any of its sessions holds it.
    pub(crate) fn of(&self, tenant: &Label) -> Arc<SharedBudget> {
        let mut tenants = self.tenants.lock();
        if let Some(budget) = tenants.get(tenant).and_then(Weak::upgrade) {
            return budget;
        }
        tenants.retain(|_, budget| budget.strong_count() > 0);
        let budget = Arc::new(SharedBudget::within(self.process.clone(), self.each));
        tenants.insert(tenant.clone(), Arc::downgrade(&budget));
        budget
    }
}

#[cfg(test)]
mod tests {
    use relay::session::GrowthBudget;

    use super::*;

    #[test]
    fn sessions_of_a_tenant_share_one_budget_and_leave_the_rest_to_others() {
        let budgets = TenantBudgets::new(Arc::new(SharedBudget::new(100)), None);
        let session = |tenant: &str| GrowthBudget::new(1000, budgets.of(&tenant.parse().unwrap()));
        let (mut a, mut b, mut other) = (session("acme"), session("acme"), session("beta"));
        assert_eq!((a.take(40), b.take(40), other.take(40)), (40, 10, 40));
        drop((a, b));
        assert_eq!(session("acme").take(70), 50);
        drop(other);
        session("gamma");
        assert_eq!(
            budgets.tenants.lock().len(),
            1,
            "those without sessions are forgotten"
        );
    }
}
