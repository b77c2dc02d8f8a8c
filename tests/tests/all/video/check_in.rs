//! What the page does with devices: before the conversation, and when the network is too bad for a picture.

use carelog_server::serve::Roles;
use carelog_tests::{Browser, until};
use serde_json::{Value, json};

use super::browsers::{browser, checks_in, phase, sums};
use super::scene::Scene;
use super::sockets::Door;

/// The page without a link, on which anybody may try their devices.
async fn trial(scene: &Scene) -> Browser {
    let browser = browser().await;
    browser.run_before_pages(LISTEN).await;
    browser.open(&format!("http://{}/rooms", scene.product.server.address.unwrap())).await;
    phase(&browser, "check").await;
    picture_is(&browser, true).await;
    browser
}

/// Waits until the page has a picture to send, or none.
async fn picture_is(page: &Browser, on: bool) {
    until(&format!("the page has a picture: {on}"), async || {
        (page.value_of("room.media.getVideoTracks().length === 1").await == json!(on)).then_some(())
    })
    .await;
    assert_eq!(page.value_of("document.getElementById('without-video').checked").await, json!(!on));
    assert_eq!(page.value_of("room.media.getAudioTracks().length").await, 1, "there is always sound");
}

/// Listens to what pages play by themselves.
const LISTEN: &str = "(() => {
    window.loudest = () => 0;
    const connect = AudioNode.prototype.connect;
    AudioNode.prototype.connect = function (...given) {
        if (given[0] === this.context.destination) {
            const analyser = this.context.createAnalyser();
            const samples = new Float32Array(analyser.fftSize);
            connect.call(this, analyser);
            window.loudest = () => {
                analyser.getFloatTimeDomainData(samples);
                return Math.max(...samples.map(Math.abs));
            };
        }
        return connect.apply(this, given);
    };
})()";

#[tokio::test(flavor = "multi_thread")]
async fn before_a_conversation_people_hear_their_speaker_and_may_leave_the_camera_off() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let page = trial(&scene).await;

    // It is short: whoever looked too late plays it again.
    until("a sound is played", async || {
        page.click("#play").await;
        page.value_of("window.loudest()").await.as_f64().filter(|loudest| *loudest > 0.05)
    })
    .await;
    page.sees("#played", "Did you hear it?").await;
    until("it ends", async || (page.value_of("window.loudest()").await == 0).then_some(())).await;

    page.click("#without-video").await;
    picture_is(&page, false).await;
    page.click("#without-video").await;
    picture_is(&page, true).await;
    page.quit().await;
    scene.product.stop().await;
}

/// What the page makes of samples, one after the other: whether it has a picture afterwards.
async fn judged(page: &Browser, samples: &[Value]) -> bool {
    for sample in samples {
        page.value_of(&format!("Talk.prototype.judge({sample})")).await;
    }
    page.value_of("room.media.getVideoTracks().length === 1").await == json!(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_poor_samples_in_a_row_end_the_picture_and_nothing_less() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let page = trial(&scene).await;
    let lost = |sent: f64, received: f64| json!({ "send_loss": sent, "receive_loss": received });
    let (fine, at_most) = (lost(0.0, 0.02), lost(0.1, 0.1));
    let unknown = json!({ "send_loss": null, "receive_loss": null });
    let (poor, poor_too) = (lost(0.0, 0.11), lost(0.5, 0.0));

    for fit in [
        vec![fine.clone(), fine.clone()],
        vec![at_most.clone(), at_most],
        vec![unknown.clone(), unknown],
        vec![poor.clone(), fine.clone(), poor.clone(), fine],
    ] {
        assert!(judged(&page, &fit).await, "{fit:?}");
    }
    for _ in 0..2 {
        assert!(!judged(&page, &[poor.clone(), poor_too.clone()]).await);
        page.sees("#warning", "You can switch it on again").await;
        picture_is(&page, false).await;
        // It stays off, until whoever it shows wants it back; then it begins anew.
        assert!(!judged(&page, &[poor.clone(), poor.clone()]).await);
        page.click("#without-video").await;
        picture_is(&page, true).await;
        assert!(judged(&page, std::slice::from_ref(&poor)).await);
        assert!(judged(&page, &[json!({ "send_loss": 0, "receive_loss": 0 })]).await);
    }
    page.quit().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_with_sound_only_is_heard_and_is_seen_once_they_want() {
    let door = Door::open().await;
    let (specialist, patient) = tokio::join!(browser(), browser());
    checks_in(&specialist, &door.specialist).await;
    specialist.click("#enter:enabled").await;
    checks_in(&patient, &door.patient).await;
    picture_is(&patient, true).await;
    patient.click("#without-video").await;
    picture_is(&patient, false).await;
    patient.click("#enter:enabled").await;
    specialist.click("#knocking .admit").await;

    until("the patient is heard", async || (sums(&specialist).await[0] >= 50.0).then_some(())).await;
    until("the specialist is seen", async || (sums(&patient).await[1] >= 5.0).then_some(())).await;
    assert_eq!((sums(&specialist).await[1], sums(&patient).await[3]), (0.0, 0.0), "nothing is to be seen");

    patient.click("#camera-off").await;
    until("the patient is seen", async || (sums(&specialist).await[1] >= 5.0).then_some(())).await;
    for browser in [specialist, patient] {
        browser.quit().await;
    }
    door.close().await;
}
