//! The conversation itself: its way is cut and comes back, offers cross, the network gets bad.

use std::time::Instant;

use carelog_tests::{Browser, Coturn, until};
use serde_json::{Value, json};

use super::browsers::{goes_on, link_state, together};
use super::cable::Cable;
use super::datagrams::Way;
use super::scene::Scene;
use super::sockets::Door;

const SECRET: &str = "the-secret-of-the-relay";
/// Packets of sound that arrived, however the conversation stands.
const HEARD: &str = "window.peers.at(-1).getStats().then((all) =>
    [...all.values()].find((stats) => stats.type === 'inbound-rtp' && stats.kind === 'audio').packetsReceived)";

/// A conversation that goes by a way which can be cut, as can the patient's connection to the server.
struct Conversation {
    way: Way,
    cable: Cable,
    door: Door,
    specialist: Browser,
    patient: Browser,
    _relay: Coturn,
}

impl Conversation {
    async fn begin() -> Self {
        let relay = Coturn::start(SECRET).await;
        let way = Way::to(&relay.url).await;
        let mut door = Door::to(Scene::behind(&way.url, SECRET).await).await;
        let cable = Cable::to(door.address).await;
        door.patient["join_url"] = cable.link(door.patient["join_url"].as_str().unwrap()).into();
        let (specialist, patient) = together(&door).await;
        let conversation = Self { way, cable, door, specialist, patient, _relay: relay };
        conversation.goes_on().await;
        conversation
    }

    async fn goes_on(&self) {
        goes_on(&self.specialist, &self.patient, "the specialist").await;
        goes_on(&self.patient, &self.specialist, "the patient").await;
    }

    const fn pages(&self) -> [&Browser; 2] {
        [&self.specialist, &self.patient]
    }

    async fn forget_searches(&self) {
        for page in self.pages() {
            page.value_of("window.searches = []").await;
        }
    }

    /// How often each page looked for another way.
    async fn searches(&self) -> [u64; 2] {
        let count = async |page: &Browser| page.value_of("window.searches.length").await.as_u64().unwrap();
        [count(&self.specialist).await, count(&self.patient).await]
    }

    /// Waits until the pages look for another way by themselves; the specialist's goes on with it.
    async fn pages_search(&self, times: u64) {
        let before = self.searches().await;
        until("the pages look for another way", async || {
            let [specialist, patient] = self.searches().await;
            (specialist >= before[0] + times && patient > before[1]).then_some(())
        })
        .await;
    }

    /// Waits until sound arrives in both pages again, and says after how long.
    async fn sound_is_back(&self, what: &str) {
        let began = Instant::now();
        for page in self.pages() {
            let before = page.value_of(HEARD).await.as_f64();
            until("sound arrives again", async || {
                (page.value_of(HEARD).await.as_f64() > before).then_some(())
            })
            .await;
        }
        println!("{what}: sound arrives in both pages {:.1?} after the way is back", began.elapsed());
    }

    async fn end(self) {
        for browser in [self.specialist, self.patient] {
            browser.quit().await;
        }
        self.door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_whose_way_was_cut_comes_back_by_itself_in_the_same_network_and_in_another() {
    let conversation = Conversation::begin().await;
    for (what, searches, is_same_network) in [
        ("the same network, after a short while", 1, true),
        ("another network, after a short while", 1, false),
        ("another network, after a long while", 3, false),
    ] {
        conversation.forget_searches().await;
        conversation.way.cut();
        conversation.pages_search(searches).await;
        for page in conversation.pages() {
            // Long before the browser gives the way up.
            assert_eq!(page.value_of("window.searches[0]").await, "disconnected");
        }

        if is_same_network {
            conversation.way.mend();
        } else {
            conversation.way.mend_elsewhere();
        }

        conversation.sound_is_back(what).await;
        conversation.goes_on().await;
    }
    Box::pin(conversation.end()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_who_loses_every_connection_and_gets_another_network_talks_on_in_the_same_stay() {
    let conversation = Conversation::begin().await;

    conversation.way.cut();
    conversation.cable.cut();
    link_state(&conversation.patient, "lost").await;
    conversation.pages_search(1).await;
    conversation.cable.mend();
    conversation.way.mend_elsewhere();

    conversation.sound_is_back("everything lost, then another network").await;
    link_state(&conversation.patient, "open").await;
    let joined = "select count(*) from log.events where event_type = 'video_room.participant_joined'";
    assert_eq!(conversation.door.scene.product.count(joined).await, 2, "nobody came twice");
    Box::pin(conversation.end()).await;
}

/// Keeps what a page tells the other one until it is let go.
const HOLD: &str = "(() => {
    const send = WebSocket.prototype.send;
    window.held = [];
    WebSocket.prototype.send = function (text) {
        if (window.held && JSON.parse(text).type === 'signal') window.held.push([this, text]);
        else send.call(this, text);
    };
    window.letGo = () => {
        const held = window.held;
        window.held = null;
        for (const [socket, text] of held) send.call(socket, text);
    };
})()";
/// Makes an offer, which is held back, and gives the name of its way. What a page does later, because an offer found no
/// answer, is not to help here.
const OFFER: &str = "(async () => {
    const peer = window.peers.at(-1);
    peer.restartIce();
    while (!window.held.some(([, text]) => text.includes('\"offer\"'))) await new Promise((go) => setTimeout(go, 5));
    clearTimeout(room.talk.patience);
    return peer.signalingState + ' ' + peer.localDescription.sdp.match(/a=ice-ufrag:(.*)/)[1];
})()";
/// How a page's negotiation stands, and by which way each of the two is reached.
const AGREED: &str = "(() => {
    const peer = window.peers.at(-1);
    const way = (description) => description.sdp.match(/a=ice-ufrag:(.*)/)[1];
    return [peer.signalingState, way(peer.currentLocalDescription), way(peer.currentRemoteDescription)];
})()";

#[tokio::test(flavor = "multi_thread")]
async fn where_both_offer_at_the_same_moment_the_specialists_offer_stands() {
    let door = Door::open().await;
    let (specialist, patient) = together(&door).await;
    goes_on(&specialist, &patient, "the specialist").await;
    goes_on(&patient, &specialist, "the patient").await;
    tokio::join!(specialist.value_of(HOLD), patient.value_of(HOLD));
    let (specialists, patients) = tokio::join!(specialist.value_of(OFFER), patient.value_of(OFFER));
    let offered =
        |offer: &Value| offer.as_str().unwrap().strip_prefix("have-local-offer ").map(str::to_owned);
    let (specialists, patients) = (offered(&specialists).unwrap(), offered(&patients).unwrap());

    tokio::join!(specialist.value_of("window.letGo()"), patient.value_of("window.letGo()"));

    let agreed = until("both agree", async || {
        let agreed = [specialist.value_of(AGREED).await, patient.value_of(AGREED).await];
        let crossed = agreed[0][1] == agreed[1][2] && agreed[0][2] == agreed[1][1];
        (crossed && agreed.iter().all(|page| page[0] == "stable")).then_some(agreed)
    })
    .await;
    assert_eq!(agreed[0][1], json!(specialists), "the specialist's offer was answered");
    assert_ne!(agreed[1][1], json!(patients), "the patient's was taken back");
    goes_on(&specialist, &patient, "the specialist").await;
    goes_on(&patient, &specialist, "the patient").await;
    for browser in [specialist, patient] {
        browser.quit().await;
    }
    door.close().await;
}

const WITHOUT_PICTURE: &str = "document.getElementById('camera-off').getAttribute('aria-pressed') === 'true'
    && room.media.getVideoTracks().length === 0 && room.media.getAudioTracks().length === 1";

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bad_network_pages_measure_it_by_themselves_and_go_on_with_sound_alone() {
    let conversation = Conversation::begin().await;
    conversation.way.loses_one_of(Some(3));

    for page in conversation.pages() {
        page.sees("#warning", "too slow for a picture").await;
        assert_eq!(page.value_of(WITHOUT_PICTURE).await, json!(true));
    }
    conversation.way.loses_one_of(None);
    conversation.sound_is_back("a bad network").await;
    let bad = "select count(*) from (
            select convert_from(facts, 'UTF8')::jsonb as f from log.events
            where event_type = 'video_room.quality_sampled') as samples
        where f ->> 'state' = 'bad' and f ->> 'participant_id' is not null";
    until("each page has told twice what it measures", async || {
        (conversation.door.scene.product.count(bad).await >= 4).then_some(())
    })
    .await;
    // Whoever wants to be seen again is.
    conversation.goes_on().await;
    Box::pin(conversation.end()).await;
}

/// Until when, in Unix seconds, the relay takes the newest conversation of a page.
const TAKEN_UNTIL: &str =
    "Number(window.peers.at(-1).getConfiguration().iceServers[0].username.split(':')[0])";

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_extended_can_use_its_relay_until_its_new_end() {
    let conversation = Conversation::begin().await;
    let before = conversation.specialist.value_of(TAKEN_UNTIL).await.as_i64().unwrap();

    conversation.specialist.click("#extend").await;

    for page in conversation.pages() {
        until("the page may use the relay for longer", async || {
            (page.value_of(TAKEN_UNTIL).await.as_i64() == Some(before + 15 * 60)).then_some(())
        })
        .await;
    }
    conversation.way.cut();
    conversation.pages_search(1).await;
    conversation.way.mend_elsewhere();
    conversation.sound_is_back("an extended room").await;
    Box::pin(conversation.end()).await;
}
