//! What each step of a purchase costs its party, from the bytes that came to the bytes that go. `cargo bench -p openset-protocol`.
#![allow(missing_docs, reason = "criterion's macros make functions without")]
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "made for the tests, which use all of it"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use openset_protocol::cardholder::purchase;

#[path = "../tests/purchase/inquiry.rs"]
mod inquiry;
#[path = "../tests/support/layers.rs"]
mod layers;
#[path = "../tests/purchase/money.rs"]
mod money;
#[path = "../tests/purchase/run.rs"]
mod run;
#[path = "../tests/purchase/world.rs"]
mod world;

use run::{Request, Run, genuine, order_of_wallet};
use world::{STAPLE, world};

/// Certificates are known by then, as they are to a service that runs.
fn steps(c: &mut Criterion) {
    let g = genuine();
    let w = world();
    let run = Run {
        world: w,
        verifier: w.verifier(),
    };
    let card = w.card();
    let mut group = c.benchmark_group("purchase");
    group.bench_function("1 cardholder: PInitReq", |b| {
        b.iter(|| w.with(|ctx| purchase::start(ctx, &card, order_of_wallet("order-1"))));
    });
    group.bench_function("2 merchant: PInitReq, PInitRes", |b| {
        b.iter(|| run.answer_p_init(black_box(&g.p_init_req)));
    });
    group.bench_function("3 cardholder: PInitRes, PReq", |b| {
        b.iter(|| {
            let waiting = g.awaiting_p_init_res.clone();
            w.with(|ctx| {
                let staple = Some(STAPLE.to_vec());
                waiting.handle(ctx, &card, black_box(&g.p_init_res), run.verifier, staple)
            })
        });
    });
    group.bench_function("4 merchant: PReq", |b| {
        b.iter(|| run.verify_p_req(&g.opened, black_box(&g.p_req)));
    });
    group.bench_function("5 merchant: AuthReq", |b| {
        b.iter(|| run.ask(black_box(&g.verified)));
    });
    group.bench_function("6 gateway: AuthReq, AuthRes", |b| {
        b.iter(|| run.authorize(black_box(&g.auth_req)));
    });
    group.bench_function("7 merchant: AuthRes", |b| {
        b.iter(|| {
            let read =
                g.awaiting_auth_res
                    .handle(black_box(&g.auth_res), &[&w.shop], run.verifier, w.now);
            read.map(|answer| answer.payload.approved())
        });
    });
    group.bench_function("8 merchant: PRes", |b| {
        let request = Request::p_req(&g.verified, &g.p_req);
        b.iter(|| run.tell(&g.verified, black_box(&g.answer), &request, None));
    });
    group.bench_function("9 cardholder: PRes", |b| {
        b.iter(|| run.read_p_res(&g.awaiting_p_res, black_box(&g.p_res)));
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
