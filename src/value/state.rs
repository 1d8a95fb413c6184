//! What the value of a node is a function of: its free CPU, memory and devices, in a compact and canonical form.

/// Devices a pool may have to be valued. Larger pools (time slices, NeuronCores) are placed by the other policies.
pub const DEVICES_MAX: usize = 16;

/// Thousandths of one device.
pub const WHOLE: u16 = 1000;

/// A set of products, one bit each; what names no product accepts all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Products(u64);

impl Products {
    /// Every product.
    pub const ANY: Self = Self(u64::MAX);
    /// Products told apart; what is beyond shares the last bit.
    pub const MAX: usize = 64;

    /// A set of these products; of none is [`Self::ANY`].
    pub fn of(products: impl IntoIterator<Item = u8>) -> Self {
        match products.into_iter().fold(0, |bits, product| bits | Self::bit(product)) {
            0 => Self::ANY,
            bits => Self(bits),
        }
    }

    /// Whether a device of this product will do.
    pub fn has(self, product: u8) -> bool {
        self.0 & Self::bit(product) != 0
    }

    /// Whether every product will do.
    pub fn is_any(self) -> bool {
        self == Self::ANY
    }

    fn bit(product: u8) -> u64 {
        1 << usize::from(product).min(Self::MAX - 1)
    }
}

/// A node's hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Allocatable thousandths of a core.
    pub cpu_milli: u32,
    /// Allocatable memory in MiB.
    pub memory_mib: u32,
    /// Devices.
    pub devices: u8,
}

/// What a pod asks for. `num` devices of `milli` thousandths each; several devices are always whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spec {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// How many devices; 0 for a plain pod.
    pub num: u8,
    /// How much of each.
    pub milli: u16,
    /// Of which products.
    pub products: Products,
}

impl Spec {
    /// Thousandths of devices in all.
    pub fn device_milli(&self) -> u32 {
        u32::from(self.num) * u32::from(self.milli)
    }

    /// Whether it asks for a part of one device.
    pub fn is_share(&self) -> bool {
        self.num == 1 && self.milli < WHOLE
    }
}

/// What is left of a node. Equal states have equal values, whatever the node is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeState {
    /// Free thousandths of a core.
    pub cpu_milli: u32,
    /// Free memory in MiB.
    pub memory_mib: u32,
    /// Which product its devices are.
    pub product: u8,
    /// How many devices it has, free or not.
    pub devices: u8,
    residual_milli: [u16; DEVICES_MAX],
}

impl NodeState {
    /// A state from what is left of each device, in any order. Devices beyond [`DEVICES_MAX`] are left out.
    pub fn new(cpu_milli: u32, memory_mib: u32, product: u8, residual_milli: &[u16]) -> Self {
        let mut state = Self { cpu_milli, memory_mib, product, devices: 0, residual_milli: [0; DEVICES_MAX] };
        for (slot, residual) in state.residual_milli.iter_mut().zip(residual_milli) {
            *slot = *residual;
            state.devices += 1;
        }
        state.residual_milli.sort_unstable_by(|a, b| b.cmp(a));
        state
    }

    /// What is left of each device, the emptiest first.
    pub fn residual_milli(&self) -> &[u16] {
        &self.residual_milli[..usize::from(self.devices)]
    }

    /// The same, of another product.
    pub fn with_product(self, product: u8) -> Self {
        Self { product, ..self }
    }

    /// Devices nobody uses.
    pub fn free(&self) -> u8 {
        u8::try_from(self.residual_milli().iter().take_while(|left| **left == WHOLE).count()).unwrap_or(u8::MAX)
    }

    /// Thousandths of devices, in use or not.
    pub fn capacity_milli(&self) -> u64 {
        u64::from(self.devices) * u64::from(WHOLE)
    }

    /// Free thousandths of devices in all.
    pub fn idle_milli(&self) -> u64 {
        self.residual_milli().iter().map(|left| u64::from(*left)).sum()
    }

    /// The states that placing a pod could lead to, with what was left of the device it would go to: one for each
    /// distinct residual that takes a share, one for whole devices and for plain pods, none where it does not fit.
    pub fn after<'a>(&'a self, spec: &'a Spec) -> impl Iterator<Item = (u16, Self)> + 'a {
        let fits =
            self.cpu_milli >= spec.cpu_milli && self.memory_mib >= spec.memory_mib && (spec.num == 0 || spec.products.has(self.product));
        let rest = move || {
            let cpu_milli = self.cpu_milli - spec.cpu_milli;
            Self { cpu_milli, memory_mib: self.memory_mib - spec.memory_mib, ..*self }
        };
        let plain = (fits && spec.num == 0).then(|| (0, rest()));
        let whole = fits && spec.num > 0 && !spec.is_share() && self.free() >= spec.num;
        let whole = whole.then(|| (WHOLE, rest().less_whole(spec.num)));
        let residuals = self.residual_milli();
        let is_candidate = move |place: &usize| {
            fits && spec.is_share() && residuals[*place] >= spec.milli && (*place == 0 || residuals[place - 1] != residuals[*place])
        };
        let shares = (0..residuals.len()).filter(is_candidate).map(move |place| (residuals[place], rest().less_share(place, spec.milli)));
        plain.into_iter().chain(whole).chain(shares)
    }

    fn less_whole(mut self, num: u8) -> Self {
        let (free, num) = (usize::from(self.free()), usize::from(num));
        self.residual_milli[free - num..free].fill(0);
        self.residual_milli.sort_unstable_by(|a, b| b.cmp(a));
        self
    }

    fn less_share(mut self, place: usize, milli: u16) -> Self {
        self.residual_milli[place] -= milli;
        // One value sank: let it pass those that are larger now.
        let mut at = place;
        while at + 1 < DEVICES_MAX && self.residual_milli[at] < self.residual_milli[at + 1] {
            self.residual_milli.swap(at, at + 1);
            at += 1;
        }
        self
    }
}
