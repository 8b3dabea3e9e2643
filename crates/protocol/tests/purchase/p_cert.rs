//! The shop asks for the gateway's certificates.

use crate::run::{End, Outcome, Run, as_sent, at};
use crate::world::world;
use openset_protocol::Rejection;
use openset_protocol::gateway;
use openset_protocol::identity::Credentials;
use openset_protocol::merchant::p_cert::AwaitingPCertRes;
use openset_protocol::merchant::{self, merchant_data};
use openset_protocol::wrapper::MessageWrapper;
use std::sync::LazyLock;

pub struct Fetching {
    pub awaiting: AwaitingPCertRes,
    pub req: Vec<u8>,
    pub res: Vec<u8>,
}

static FETCHING: LazyLock<Fetching> = LazyLock::new(|| {
    let world = world();
    let run = Run {
        world,
        verifier: world.pki.verifier(),
    };
    let (awaiting, req) = world
        .with(|ctx| merchant::p_cert::request(ctx, &world.shop, world.verifier()))
        .unwrap();
    let res = run.publish(&req, &world.gateway).unwrap();
    Fetching { awaiting, req, res }
});

pub fn fetching() -> &'static Fetching {
    &FETCHING
}

impl Run<'_> {
    /// The gateway tells its certificates.
    pub fn publish(&self, wire: &[u8], ours: &Credentials) -> Result<Vec<u8>, End> {
        let w = self.world;
        let bin = &merchant_data(&w.shop).unwrap().acquirer_bin;
        let wrapper = at("PCertReq", MessageWrapper::decode(wire))?;
        let whose = (&[ours][..], bin.as_str());
        let opened = gateway::p_cert::open(wire, &wrapper, whose, self.verifier, w.now);
        let request = at("PCertReq", opened)?;
        at("PCertReq", wrapper.check_date(w.now))?;
        let answer = w.with(|ctx| gateway::p_cert::answer(ctx, &[ours], bin, &request, &w.state()));
        Ok(answer.unwrap())
    }

    pub fn p_cert_req(&self, wire: &[u8]) -> Outcome {
        let res = self.publish(wire, &self.world.gateway)?;
        self.read_p_cert(&as_sent(&fetching().awaiting, wire), &res)
    }

    pub fn p_cert_res(&self, wire: &[u8]) -> Outcome {
        self.read_p_cert(&fetching().awaiting, wire)
    }

    fn read_p_cert(&self, shop: &AwaitingPCertRes, wire: &[u8]) -> Outcome {
        let w = self.world;
        match at("PCertRes", shop.handle(wire, self.verifier, w.now))? {
            Ok(chain) => {
                assert_eq!(&chain, w.gateway.key_exchange.chain());
                Ok(())
            }
            Err(code) => Err(End::NoCertificate(code)),
        }
    }
}

#[test]
fn a_gateway_passes_on_no_certificate_but_its_own() {
    let w = world();
    let verifier = w.pki.fresh_verifier();
    let run = Run {
        world: w,
        verifier: &verifier,
    };
    let mixed = Credentials {
        key_exchange: w.other_gateway.key_exchange.clone(),
        ..w.gateway.clone()
    };
    let res = run.publish(&fetching().req, &mixed).unwrap();
    let another = Rejection::AnotherParty("gateway");
    assert_eq!(run.p_cert_res(&res), Err(End::Refused("PCertRes", another)));
}
