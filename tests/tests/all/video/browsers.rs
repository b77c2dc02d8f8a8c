//! Two people in their own browsers, with cameras that show a test pattern.

use std::process::Stdio;

use carelog_server::serve::Roles;
use carelog_tests::{Browser, Coturn, python_client, until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::cable::Cable;
use super::scene::Scene;
use super::sockets::Door;

/// Keeps what the page makes in order to talk, so that the browser can be asked what arrived, and when it looks for
/// another way.
const KEEP_PEERS: &str = "
    window.peers = [];
    window.searches = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...given) { super(...given); window.peers.push(this); }
        restartIce() { window.searches.push(this.connectionState); super.restartIce(); }
    };";
/// Packets of sound and frames of the picture that arrived in the newest conversation, and that went out.
const ARRIVED: &str = "(async () => {
    const sums = [0, 0, 0, 0];
    const peer = window.peers.filter((peer) => peer.connectionState === 'connected').at(-1);
    for (const stats of peer ? (await peer.getStats()).values() : []) {
        if (stats.type === 'inbound-rtp' && stats.kind === 'audio') sums[0] += stats.packetsReceived;
        if (stats.type === 'inbound-rtp' && stats.kind === 'video') sums[1] += stats.framesDecoded || 0;
        if (stats.type === 'outbound-rtp' && stats.kind === 'audio') sums[2] += stats.bytesSent;
        if (stats.type === 'outbound-rtp' && stats.kind === 'video') sums[3] += stats.bytesSent;
    }
    return sums;
})()";

pub(super) async fn browser() -> Browser {
    let browser = Browser::start_with_devices().await;
    browser.run_before_pages(KEEP_PEERS).await;
    browser
}

pub(super) async fn sums(browser: &Browser) -> [f64; 4] {
    let sums = browser.value_of(ARRIVED).await;
    [0, 1, 2, 3].map(|n| sums[n].as_f64().unwrap_or_default())
}

/// On a busy machine a page may find its network too slow for a picture. It says so, and how to have it back.
const CAMERA_ON: &str = "(() => {
    const button = document.getElementById('camera-off');
    if (button.getAttribute('aria-pressed') === 'true') button.click();
})()";

/// Waits until sound and picture went on, in and out.
pub(super) async fn goes_on(browser: &Browser, other: &Browser, who: &str) {
    let before = sums(browser).await;
    until(&format!("sound and picture go on for {who}"), async || {
        for page in [browser, other] {
            page.value_of(CAMERA_ON).await;
        }
        let now = sums(browser).await;
        // Some seconds' worth, of each.
        let more = [50.0, 20.0, 2_000.0, 10_000.0];
        let grown = before.iter().zip(now).zip(more);
        grown.clone().all(|((before, now), more)| now >= before + more).then_some(())
    })
    .await;
}

/// A specialist and a patient who was let in.
pub(super) async fn together(door: &Door) -> (Browser, Browser) {
    let (specialist, patient) = tokio::join!(browser(), browser());
    for (page, link) in [(&specialist, &door.specialist), (&patient, &door.patient)] {
        checks_in(page, link).await;
        page.click("#enter:enabled").await;
    }
    specialist.click("#knocking .admit").await;
    (specialist, patient)
}

/// Opens a link, as far as the check-in.
pub(super) async fn checks_in(page: &Browser, link: &Value) {
    page.open(link["join_url"].as_str().unwrap()).await;
    phase(page, "check").await;
}

pub(super) async fn phase(browser: &Browser, phase: &str) {
    until(&format!("the page is at {phase:?}"), async || {
        (browser.value_of("document.body.dataset.phase").await == phase).then_some(())
    })
    .await;
}

pub(super) async fn link_state(browser: &Browser, state: &str) {
    until(&format!("the link is {state:?}"), async || {
        (browser.value_of("document.body.dataset.link").await == state).then_some(())
    })
    .await;
}

async fn stays(scene: &Scene, event_type: &str) -> i64 {
    let statement = format!("select count(*) from log.events where event_type = '{event_type}'");
    scene.product.count(&statement).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_talk_are_cut_off_come_back_and_are_out_when_the_room_expires() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let cable = Cable::to(scene.product.server.address.unwrap()).await;
    let link = async |participant: &str| {
        let (status, link) =
            scene.link(&scene.admin, &appointment, json!({ "participant": participant })).await;
        assert_eq!(status, 201, "{link}");
        link
    };
    let (specialists, patients) = (link("specialist").await, link("patient").await);
    // Four minutes are left.
    scene.clock.step_seconds(46 * 60);
    let (specialist, patient) = tokio::join!(browser(), browser());

    specialist.open(specialists["join_url"].as_str().unwrap()).await;
    phase(&specialist, "check").await;
    specialist.click("#enter:enabled").await;
    phase(&specialist, "call").await;
    patient.open(&cable.link(patients["join_url"].as_str().unwrap())).await;
    phase(&patient, "check").await;
    patient.click("#enter:enabled").await;
    phase(&patient, "waiting").await;
    patient.is_accessible("the waiting room").await;
    assert_eq!(stays(&scene, "video_room.participant_joined").await, 1, "who waits has not joined");
    specialist.click("#knocking .admit").await;
    phase(&patient, "call").await;
    goes_on(&specialist, &patient, "the specialist").await;
    goes_on(&patient, &specialist, "the patient").await;
    specialist.sees("#warning", "The room closes in").await;
    specialist.is_accessible("the conversation").await;

    // Whoever has a copy of the link stays outside.
    let third = browser().await;
    third.open(patients["join_url"].as_str().unwrap()).await;
    phase(&third, "check").await;
    third.click("#enter:enabled").await;
    third.sees("#end-title", "in use on another device").await;

    cable.cut();
    link_state(&patient, "lost").await;
    cable.mend();
    link_state(&patient, "open").await;
    goes_on(&patient, &specialist, "the patient who was cut off").await;
    assert_eq!(stays(&scene, "video_room.participant_joined").await, 2, "it is the same stay");
    // A page that is loaded again is let in as before, in another stay.
    patient.reload().await;
    phase(&patient, "check").await;
    patient.click("#enter:enabled").await;
    phase(&patient, "call").await;
    goes_on(&patient, &specialist, "the patient who came back").await;
    goes_on(&specialist, &patient, "the specialist").await;

    let both_sampled =
        "select count(distinct convert_from(facts, 'UTF8')::jsonb ->> 'participant_id') from log.events
                        where event_type = 'video_room.quality_sampled'";
    until("both browsers tell how their network does", async || {
        (scene.product.count(both_sampled).await == 2).then_some(())
    })
    .await;
    specialist.click("#extend").await;
    until("the warning is taken back", async || {
        (patient.value_of("document.getElementById('warning').hidden").await == Value::Bool(true))
            .then_some(())
    })
    .await;

    scene.clock.step_seconds(20 * 60);
    for browser in [&specialist, &patient] {
        browser.sees("#end-title", "The room is closed").await;
        assert_eq!(
            browser.value_of("window.peers.filter((peer) => peer.connectionState !== 'closed').length").await,
            0
        );
    }
    until("both have left", async || (stays(&scene, "video_room.participant_left").await == 3).then_some(()))
        .await;
    scene.becomes_at_last(&appointment, "closed").await;
    third.reload().await;
    third.sees("#end-title", "The room is closed").await;
    scene.product.settled().await;
    scene.product.is_sound().await;
    for browser in [specialist, patient, third] {
        browser.quit().await;
    }
    scene.product.stop().await;
}

/// By which way the newest conversation goes: the kind of the page's own candidate.
const WAY: &str = "(async () => {
    const peer = window.peers.filter((peer) => peer.connectionState === 'connected').at(-1);
    const stats = peer ? await peer.getStats() : new Map();
    const transport = [...stats.values()].find((entry) => entry.type === 'transport');
    const pair = transport && stats.get(transport.selectedCandidatePairId);
    return pair ? stats.get(pair.localCandidateId).candidateType : null;
})()";

#[tokio::test(flavor = "multi_thread")]
async fn where_only_a_relay_leads_out_it_takes_the_credentials_that_participants_get() {
    const SECRET: &str = "the-secret-of-the-relay";
    let relay = Coturn::start(SECRET).await;
    let door = Door::to(Scene::behind(&relay.url, SECRET).await).await;
    let (specialist, patient) = together(&door).await;

    for (page, other) in [(&specialist, &patient), (&patient, &specialist)] {
        goes_on(page, other, "somebody behind a relay").await;
        assert_eq!(page.value_of(WAY).await, "relay");
    }
    for browser in [specialist, patient] {
        browser.quit().await;
    }
    door.close().await;
}

/// What somebody else's decoder makes of a film.
async fn decoded(film: &[u8]) -> Value {
    let mut client = Command::from(python_client("film").await);
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(film).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_recorded_with_leave_both_see_it_and_it_stops_when_the_consent_goes() {
    let door = Door::open().await;
    door.scene.may_record(true).await;
    let (specialist, patient) = together(&door).await;
    goes_on(&specialist, &patient, "the specialist").await;
    specialist.click("#record").await;
    specialist.sees("#warning", "has not agreed to be recorded").await;
    door.scene.agrees().await;

    specialist.click("#record").await;
    for page in [&specialist, &patient] {
        page.sees("#recorded", "is being recorded").await;
    }
    let arrived = "select count(*) from log.events where event_type = 'video_room.recording_stored'";
    until("some of it has arrived", async || (door.pieces().await.len() >= 2).then_some(())).await;
    specialist.click("#record").await;
    until("it is stored", async || (door.scene.product.count(arrived).await == 1).then_some(())).await;
    let film = decoded(&door.film().await).await;
    assert_eq!((&film["codecs"], &film["size"]), (&json!(["opus", "vp8"]), &json!([960, 540])), "{film}");
    assert!(film["pictures"].as_u64().unwrap() >= 20 && film["sounds"].as_u64().unwrap() >= 100, "{film}");
    assert_eq!(film["is_heard"], true, "{film}");
    assert!(film["seconds"].as_f64().unwrap() >= 5.0, "{film}");

    specialist.click("#record").await;
    patient.sees("#recorded", "is being recorded").await;
    door.scene.withdraws().await;
    for page in [&specialist, &patient] {
        page.sees("#recorded", "has ended").await;
    }
    goes_on(&patient, &specialist, "the patient, whose conversation goes on").await;
    for browser in [specialist, patient] {
        browser.quit().await;
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_window_a_link_says_when_it_opens_and_a_page_without_one_tests_devices() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    let (_, link) = scene.link(&scene.admin, &appointment, json!({})).await;
    let browser = browser().await;

    browser.open(link["join_url"].as_str().unwrap()).await;
    browser.sees("#end-title", "not open yet").await;
    browser.sees("#end-text", "It opens on").await;
    // Another link in the same tab: the page loads itself again.
    browser.open(&format!("http://{}/rooms#nothing", scene.product.server.address.unwrap())).await;
    browser.sees("#end-title", "leads nowhere").await;
    browser.is_accessible("the end").await;
    browser.open(&format!("http://{}/rooms", scene.product.server.address.unwrap())).await;
    phase(&browser, "check").await;
    browser.click("#test").await;
    browser.sees("#network", "Calls work here").await;
    until("the microphone is heard", async || {
        browser.value_of("document.getElementById('level').value").await.as_f64().filter(|level| *level > 0.0)
    })
    .await;
    browser.quit().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_works_by_keyboard_and_names_everything() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let (_, link) = scene.link(&scene.admin, &appointment, json!({})).await;
    let browser = browser().await;
    browser.open(link["join_url"].as_str().unwrap()).await;
    phase(&browser, "check").await;

    // The focus is where the page begins anew, so that what follows is read first and reached by Tab.
    let focus = "document.activeElement.id";
    assert_eq!(browser.value_of(focus).await, "check-in");
    browser.is_accessible("the check-in").await;
    until("the devices are ready", async || {
        (browser.value_of("document.getElementById('enter').disabled").await == Value::Bool(false))
            .then_some(())
    })
    .await;
    let mut reached = Vec::new();
    while reached.last().is_none_or(|id| id != "enter") && reached.len() < 20 {
        browser.press(fantoccini::key::Key::Tab).await;
        reached.push(browser.value_of(focus).await.as_str().unwrap().to_owned());
    }
    assert_eq!(reached, ["camera", "microphone", "speaker", "play", "test", "without-video", "enter"]);
    browser.press(fantoccini::key::Key::Enter).await;
    phase(&browser, "call").await;
    browser.is_accessible("the room").await;
    let nameless = "Array.from(document.querySelectorAll('button, select, input, meter, video, section'))
        .filter((one) => !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')
            || one.textContent.trim() || (one.labels && one.labels.length))).length";
    assert_eq!(browser.value_of(nameless).await, 0);
    assert_eq!(
        browser
            .value_of("document.querySelectorAll('[role=status], [role=alert], [role=timer]').length")
            .await,
        6
    );
    browser.quit().await;
    scene.product.stop().await;
}
