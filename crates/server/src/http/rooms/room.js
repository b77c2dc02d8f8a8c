// The embedded video room: checks the devices, waits to be let in, and talks to the other browser directly.
//
// Browsers negotiate as in https://www.w3.org/TR/webrtc/#perfect-negotiation-example: both may make an offer at any time,
// and where two cross, the one who is not the specialist gives way. The first offer is the specialist's: a browser that
// takes back its very first one may make its transport anew and find no address for it, ever. A connection to the server
// that breaks is resumed under the same stay, while the conversation goes on. What was told meanwhile may be lost, or come
// late: offers are counted, answers name theirs, and an offer that found no answer is told again.
"use strict";

const PING_MS = 1500;
const SILENCE_MS = 3500;
const PAUSES_MS = [200, 400, 800, 1500, 2000];
const OFFER_PATIENCE_MS = 4000;
const DISCONNECTED_PATIENCE_MS = 1000;
const BEGIN_PATIENCE_MS = 10000;
const SAMPLE_MS = 15000;
const WARNING_SECONDS = 5 * 60;
const EXTENSION_MINUTES = 15;
const POOR_SAMPLES = 2;
const POOR_LOSS = 0.1;

const byId = (id) => document.getElementById(id);
const token = location.hash.slice(1);

/* What the page knows. */
const room = {
    phase: "opening",
    participant: null,
    session: null,
    view: null,
    relays: { ice_servers: [], relay_only: false },
    clockAhead: 0,
    socket: null,
    heardAt: 0,
    attempts: 0,
    isOver: false,
    warnedOf: null,
    media: new MediaStream(),
    isMuted: false,
    isCameraOff: false,
    talk: null,
    poorSamples: 0,
    recorder: null,
    /* What this page asked for of recording, until it is so; nothing where it asks for nothing. */
    recordingWish: null,
};

/* ---- what is shown ---- */

const SECTIONS = { check: "check-in", waiting: "waiting", call: "call", end: "end" };

function show(phase) {
    if (room.phase === phase) return;
    room.phase = phase;
    document.body.dataset.phase = phase;
    for (const [name, id] of Object.entries(SECTIONS)) byId(id).hidden = name !== phase;
    const section = SECTIONS[phase] && byId(SECTIONS[phase]);
    if (section) section.focus();
}

function say(text) {
    byId("status").textContent = text;
}

function warn(text) {
    const warning = byId("warning");
    warning.textContent = text;
    warning.hidden = !text;
}

const moment = (text) =>
    new Date(text).toLocaleString(undefined, { dateStyle: "full", timeStyle: "short" });

function serverTime() {
    return Date.now() + room.clockAhead;
}

function finish(title, text, canRetry) {
    room.isOver = true;
    byId("end-title").textContent = title;
    byId("end-text").textContent = text;
    byId("again").hidden = !canRetry;
    byId("clock").hidden = true;
    warn("");
    say("");
    show("end");
    hangUp();
    showRecording(null);
    for (const track of room.media.getTracks()) track.stop();
}

const ENDS = {
    expired: ["The room is closed", "Its time is over."],
    closed: ["The room is closed", "Ask your clinic if you expected otherwise."],
    revoked: ["This link no longer works", "Your clinic has replaced or withdrawn it. Use the newest one you were given."],
    declined: ["You were not let in", "Ask your clinic if you expected otherwise."],
    replaced: ["You joined from elsewhere", "This link is now in use in another tab or on another device."],
    too_much: ["The connection was ended", "Please load this page again."],
    left: ["You have left", "You can come back until the room closes."],
};

function refused(message) {
    const { reason, opens_at: opensAt, expires_at: expiresAt } = message;
    document.body.dataset.link = reason;
    if (reason === "busy") return reconnectLater();
    const texts = {
        before_window: ["The room is not open yet", `It opens on ${opensAt && moment(opensAt)}. This page goes on by itself.`],
        after_window: ["The room is closed", `It closed on ${expiresAt && moment(expiresAt)}.`],
        in_use: ["This link is in use on another device", "Leave there first, or ask your clinic for a new link."],
        seat_taken: ["Another specialist is in this room", "Only one specialist takes part at a time."],
        unknown: ["This link leads nowhere", "Check that you copied all of it."],
    };
    const [title, text] = texts[reason] || ENDS[reason] || ["This link does not work", "Ask your clinic for a new one."];
    finish(title, text, reason === "in_use" || reason === "seat_taken");
    if (reason === "before_window") {
        const wait = new Date(opensAt).getTime() - new Date(message.now).getTime();
        // Longer ones are no number of milliseconds that a timer takes.
        setTimeout(() => location.reload(), Math.min(Math.max(wait, 1000) + 500, 2 ** 31 - 1));
    }
}

function tick() {
    if (room.isOver) return;
    if (room.socket && performance.now() - room.heardAt > SILENCE_MS) lose(room.socket);
    if (!room.view) return;
    const left = Math.max(0, Math.round((new Date(room.view.expires_at).getTime() - serverTime()) / 1000));
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(left / 3600);
    const rest = `${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
    byId("countdown").textContent = hours ? `${hours}:${rest}` : rest;
    byId("clock").hidden = false;
    if (left > WARNING_SECONDS) {
        if (room.warnedOf) warn("");
        room.warnedOf = null;
        return;
    }
    if (room.warnedOf !== room.view.expires_at) {
        room.warnedOf = room.view.expires_at;
        const minutes = Math.ceil(left / 60);
        warn(`The room closes in ${minutes} minute${minutes === 1 ? "" : "s"}.`);
    }
}

/* ---- devices ---- */

const HELP = {
    NotAllowedError:
        "The browser does not let this page use the camera or microphone. Allow both, by the symbol beside the address or in the browser's settings, and check that the system allows the browser to use them.",
    NotFoundError: "No microphone was found. Plug one in, or use a phone or tablet.",
    NotReadableError: "Another program uses the camera or microphone. Close it and try again.",
    OverconstrainedError: "The chosen device is gone. Choose another one.",
};

function help(error) {
    const text = error ? HELP[error.name] || "The camera or microphone could not be started. Load this page again." : "";
    byId("device-help").textContent = text;
    byId("device-help").hidden = !text;
}

/* Only then can the others' browsers find this one: before a page may use the devices, browsers hide its addresses. */
async function prepare() {
    await useDevices().catch(help);
    byId("enter").disabled = false;
}

const wanted = (id) => (byId(id).value ? { deviceId: { exact: byId(id).value } } : true);

async function useDevices() {
    const audio = wanted("microphone");
    const video = !room.isCameraOff && wanted("camera");
    let media = null;
    try {
        media = await navigator.mediaDevices.getUserMedia({ audio, video });
        help(null);
    } catch (error) {
        help(error);
        if (video) {
            // Without a camera, or without leave to use it, people can still talk.
            media = await navigator.mediaDevices.getUserMedia({ audio }).catch(() => null);
            if (media) {
                setCameraOff(true);
                say("There is no picture of you; you can be heard.");
            }
        }
    }
    if (!media) return;
    for (const track of room.media.getTracks()) {
        room.media.removeTrack(track);
        track.stop();
    }
    for (const track of media.getTracks()) {
        if (track.kind === "audio") track.enabled = !room.isMuted;
        room.media.addTrack(track);
    }
    byId("preview").srcObject = byId("self").srcObject = room.media;
    listen(media);
    if (room.talk) room.talk.sendTracks();
    await listDevices();
}

async function listDevices() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    for (const [id, kind] of [["camera", "videoinput"], ["microphone", "audioinput"], ["speaker", "audiooutput"]]) {
        const select = byId(id);
        const chosen = select.value;
        const options = devices
            .filter((device) => device.kind === kind && device.deviceId)
            .map((device, n) => new Option(device.label || `${kind} ${n + 1}`, device.deviceId));
        select.replaceChildren(new Option("As the system says", ""), ...options);
        if (options.some((option) => option.value === chosen)) select.value = chosen;
    }
}

let sound = null;

function listen(media) {
    sound = sound || new AudioContext();
    if (!media.getAudioTracks().length) return;
    const analyser = sound.createAnalyser();
    sound.createMediaStreamSource(media).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const track = media.getAudioTracks()[0];
    const draw = () => {
        if (track.readyState === "ended" || room.phase === "end") return;
        analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
        byId("level").value = Math.min(1, Math.sqrt(power) * 4);
        setTimeout(draw, 100);
    };
    draw();
}

async function playSound() {
    sound = sound || new AudioContext();
    await sound.resume();
    if (sound.setSinkId) await sound.setSinkId(byId("speaker").value).catch(() => {});
    const tone = sound.createOscillator();
    const volume = sound.createGain();
    volume.gain.value = 0.2;
    tone.connect(volume).connect(sound.destination);
    tone.start();
    tone.stop(sound.currentTime + 0.6);
    byId("played").textContent = "Did you hear it? If not, turn the volume up or choose another speaker.";
}

/* A call with oneself, by the same relays as the real one. */
async function testNetwork() {
    const result = byId("network");
    result.textContent = "Testing …";
    const options = iceOptions();
    const [one, other] = [new RTCPeerConnection(options), new RTCPeerConnection(options)];
    const channel = one.createDataChannel("test");
    one.onicecandidate = ({ candidate }) => candidate && other.addIceCandidate(candidate).catch(() => {});
    other.onicecandidate = ({ candidate }) => candidate && one.addIceCandidate(candidate).catch(() => {});
    other.ondatachannel = ({ channel: back }) => (back.onmessage = ({ data }) => back.send(data));
    try {
        const opened = new Promise((resolve) => (channel.onopen = resolve));
        await one.setLocalDescription();
        await other.setRemoteDescription(one.localDescription);
        await other.setLocalDescription();
        await one.setRemoteDescription(other.localDescription);
        const tooLong = new Promise((_, reject) => setTimeout(reject, 8000));
        await Promise.race([opened, tooLong]);
        const began = performance.now();
        for (let n = 0; n < 10; n += 1) {
            const answered = new Promise((resolve) => (channel.onmessage = resolve));
            channel.send("x");
            await Promise.race([answered, tooLong]);
        }
        const reached = performance.now();
        const answer = await fetch("/rooms/room.css", { cache: "no-store" });
        if (!answer.ok) throw new Error("the server does not answer");
        const toServer = performance.now() - reached;
        const byItself = (reached - began) / 10;
        result.textContent = `Calls work here: ${byItself.toFixed(0)} ms for a message, ${toServer.toFixed(0)} ms to the server.`;
    } catch {
        result.textContent =
            "A call could not be set up. Try another network, such as your phone's, or ask whoever runs this one to let calls through.";
    } finally {
        one.close();
        other.close();
    }
}

function setCameraOff(isOff) {
    room.isCameraOff = isOff;
    byId("without-video").checked = isOff;
    byId("camera-off").setAttribute("aria-pressed", String(isOff));
    byId("self").hidden = isOff;
}

/* ---- the server ---- */

function device() {
    let known = localStorage.getItem("carelog-device");
    if (!known) {
        const random = crypto.getRandomValues(new Uint8Array(32));
        known = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
        localStorage.setItem("carelog-device", known);
    }
    return known;
}

function connect(purpose) {
    if (room.isOver || room.socket) return;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/rooms/socket`);
    room.socket = socket;
    room.heardAt = performance.now();
    const resume = purpose === "enter" && room.session ? { resume: room.session } : {};
    socket.onopen = () => socket.send(JSON.stringify({ type: "hello", token, device: device(), purpose, ...resume }));
    socket.onmessage = ({ data }) => {
        if (room.socket !== socket) return;
        room.heardAt = performance.now();
        heard(JSON.parse(data), purpose);
    };
    socket.onclose = () => lose(socket);
    const ping = setInterval(() => {
        if (room.socket !== socket) return clearInterval(ping);
        if (purpose === "enter") tell({ type: "ping" });
    }, PING_MS);
}

/* The conversation goes on while the server is looked for. */
function lose(socket) {
    if (room.socket !== socket) return;
    room.socket = null;
    socket.onclose = null;
    socket.close();
    reconnectLater();
}

let reconnecting = null;

function reconnectLater() {
    if (room.isOver || room.phase === "check") return;
    document.body.dataset.link = "lost";
    say("The connection to the server was lost. Looking for it …");
    const pause = PAUSES_MS[Math.min(room.attempts, PAUSES_MS.length - 1)] * (0.75 + Math.random() / 2);
    room.attempts += 1;
    clearTimeout(reconnecting);
    reconnecting = setTimeout(() => connect(room.phase === "opening" ? "look" : "enter"), pause);
}

function tell(message) {
    if (room.socket && room.socket.readyState === WebSocket.OPEN) room.socket.send(JSON.stringify(message));
}

function heard(message, purpose) {
    if (message.now) room.clockAhead = new Date(message.now).getTime() - Date.now();
    switch (message.type) {
        case "refused":
            room.socket = null;
            return refused(message);
        case "may_enter":
            room.socket = null;
            room.attempts = 0;
            room.participant = message.participant;
            room.relays = message.relays;
            document.body.dataset.link = "works";
            say("");
            show("check");
            return prepare();
        case "welcome": {
            room.attempts = 0;
            room.participant = message.participant;
            useRelays(message.relays);
            document.body.dataset.link = "open";
            const isResumed = room.session === message.session;
            room.session = message.session;
            if (!isResumed) hangUp();
            else if (room.talk) room.talk.resume();
            if (room.recordingWish !== null) tell({ type: "record", on: room.recordingWish });
            return say("");
        }
        case "relays":
            return useRelays(message.relays);
        case "state":
            return look(message);
        case "signal":
            if (room.talk && room.talk.session === message.from) room.talk.hear(message.signal);
            return undefined;
        case "not_done":
            if (message.reason in NOT_RECORDED) return notRecorded(NOT_RECORDED[message.reason]);
            return say(NOT_DONE[message.reason] || NOT_DONE.unavailable);
        case "ended":
            room.socket = null;
            return finish(...ENDS[message.reason], message.reason === "left");
        default:
            return undefined;
    }
}

const NOT_DONE = {
    seat_taken: "Somebody else takes part already. Send them back to the waiting room first.",
    not_allowed: "Only the specialist can do that.",
    too_long: "The room cannot stay open for longer.",
    unavailable: "That did not work. Please try again.",
};

const NOT_RECORDED = {
    recording_not_enabled: "Your clinic does not record conversations.",
    no_recording_consent: "The patient has not agreed to be recorded.",
    not_recorded: "The recording could not be begun. Please try again.",
};

const NAMES = { patient: "The patient", specialist: "The specialist", guest: "A guest" };

function look(view) {
    const before = room.view;
    room.view = view;
    show(view.admitted ? "call" : "waiting");
    const isSpecialist = room.participant === "specialist";
    byId("extend").hidden = !isSpecialist;
    byId("send-back").hidden = !isSpecialist || !view.peer;
    byId("lobby").hidden = !isSpecialist;
    showLobby(view);
    byId("record").hidden = !isSpecialist || !view.admitted || !Recorder.isPossible();
    if (before && before.expires_at !== view.expires_at) say("The room stays open until " + moment(view.expires_at) + ".");
    const session = view.admitted && view.peer ? view.peer.session : null;
    if (room.talk && room.talk.session !== session) {
        hangUp();
        if (!session) say("The other participant has left.");
    }
    byId("alone").hidden = Boolean(session);
    if (session && !room.talk) {
        say(`${NAMES[view.peer.participant]} is here.`);
        room.talk = new Talk(session, !isSpecialist);
    }
    showRecording(view.recording);
    tick();
}

function showLobby(view) {
    const list = byId("knocking");
    const known = new Set(Array.from(list.children, (item) => item.dataset.session));
    const now = new Set(view.waiting.map((one) => one.session));
    for (const item of Array.from(list.children)) if (!now.has(item.dataset.session)) item.remove();
    for (const { session, participant } of view.waiting) {
        if (known.has(session)) continue;
        const item = document.createElement("li");
        item.dataset.session = session;
        const button = (text, type) => {
            const made = document.createElement("button");
            made.type = "button";
            made.className = type;
            made.textContent = text;
            made.onclick = () => tell({ type, session });
            return made;
        };
        item.append(`${NAMES[participant]} is waiting. `, button("Admit", "admit"), button("Decline", "decline"));
        list.append(item);
        knock();
    }
}

function knock() {
    if (sound && sound.state === "running") playSound().then(() => (byId("played").textContent = ""));
}

/* ---- recording ---- */

/* Both see whether they are recorded. The page that asked for it makes the recording. */
function showRecording(recording) {
    const isRecorded = Boolean(recording && recording.id);
    const notice = byId("recorded");
    const wasRecorded = notice.dataset.recorded === "true";
    notice.dataset.recorded = String(isRecorded);
    if (isRecorded) notice.textContent = "This conversation is being recorded.";
    else if (wasRecorded) notice.textContent = "The recording has ended.";
    byId("record").setAttribute("aria-pressed", String(Boolean(recording)));
    if (!recording) {
        if (room.recordingWish === false) room.recordingWish = null;
        if (room.recorder) room.recorder.abandon();
        room.recorder = null;
        return;
    }
    if (room.recorder || room.participant !== "specialist" || !Recorder.isPossible()) return;
    // The clinic asked for it elsewhere, and nobody makes it yet.
    if (!recording.id) return room.recordingWish === null ? record(true) : undefined;
    if (room.recordingWish) makeRecording(recording.id);
}

function makeRecording(id) {
    room.recordingWish = null;
    const sources = () => ({
        pictures: [byId("remote"), byId("self")],
        sounds: [byId("remote").srcObject, room.media],
    });
    try {
        sound = sound || new AudioContext();
        room.recorder = new Recorder(id, sound, sources, (why) => {
            record(false);
            warn(why);
        });
    } catch {
        record(false);
        warn("This browser cannot record.");
    }
}

/* Asked until it is so, over whatever connection. */
function record(on) {
    room.recordingWish = on;
    if (Object.values(NOT_RECORDED).includes(byId("warning").textContent)) warn("");
    tell({ type: "record", on });
}

function notRecorded(why) {
    room.recordingWish = null;
    warn(why);
}

async function stopRecording() {
    const { recorder } = room;
    if (recorder) {
        say("Saving the recording …");
        await recorder.finish();
        say("");
    }
    record(false);
}

/* ---- the other browser ---- */

function iceOptions() {
    const { ice_servers: iceServers, relay_only: relayOnly } = room.relays;
    return { iceServers, iceTransportPolicy: relayOnly ? "relay" : "all" };
}

/* A conversation that goes on shows them to its relay when it looks for another way. */
function useRelays(relays) {
    room.relays = relays;
    if (room.talk) room.talk.peer.setConfiguration(iceOptions());
}

class Talk {
    constructor(session, isPolite) {
        this.session = session;
        this.isPolite = isPolite;
        this.isMakingOffer = false;
        this.ignoresOffer = false;
        /* The newest offers of this page, and of the other one: an answer names the one that it answers. */
        this.offers = 0;
        this.heardOffer = 0;
        this.senders = new Map();
        this.last = null;
        this.work = Promise.resolve();
        const peer = new RTCPeerConnection(iceOptions());
        this.peer = peer;
        peer.onnegotiationneeded = () => this.offer();
        peer.onicecandidate = ({ candidate }) => {
            if (!candidate) return;
            const { candidate: text, sdpMid, sdpMLineIndex, usernameFragment } = candidate.toJSON();
            this.send({ kind: "candidate", candidate: text, sdpMid, sdpMLineIndex, usernameFragment });
        };
        peer.onconnectionstatechange = () => this.changed();
        peer.ontrack = ({ track, streams }) => {
            const remote = byId("remote");
            if (remote.srcObject !== streams[0]) remote.srcObject = streams[0];
            if (track.kind === "video") {
                track.onmute = () => say("The other participant's picture is off.");
                track.onunmute = () => say("");
            }
            remote.play().catch(() => warn("Press a key or click so that the browser plays the sound."));
        };
        this.sendTracks();
        if (!room.media.getTracks().length) peer.addTransceiver("audio", { direction: "recvonly" });
        this.sampling = setInterval(() => this.sample(), SAMPLE_MS);
        // A conversation that never begins fails in no way that the browser tells: its addresses were lost, or not found.
        if (!isPolite) this.watching = setInterval(() => this.recover(), BEGIN_PATIENCE_MS);
    }

    send(signal) {
        tell({ type: "signal", to: this.session, signal });
    }

    /* Its own offer or answer as it is now, with the addresses that were found so far. */
    describe() {
        const { type, sdp } = this.peer.localDescription;
        this.send({ kind: type, sdp, number: type === "offer" ? this.offers : this.heardOffer });
    }

    sendTracks() {
        for (const kind of ["audio", "video"]) {
            const track = room.media.getTracks().find((one) => one.kind === kind) || null;
            const sender = this.senders.get(kind);
            if (sender) sender.replaceTrack(track).catch(() => this.peer.restartIce());
            else if (track) this.senders.set(kind, this.peer.addTrack(track, room.media));
        }
    }

    async offer() {
        if (this.isPolite && !this.peer.remoteDescription) return;
        try {
            this.isMakingOffer = true;
            await this.peer.setLocalDescription();
            if (this.peer.signalingState === "have-local-offer") this.offers += 1;
            this.describe();
            clearTimeout(this.patience);
            this.patience = setTimeout(() => this.offerAgain(), OFFER_PATIENCE_MS);
        } catch {
            this.patience = setTimeout(() => this.recover(), OFFER_PATIENCE_MS);
        } finally {
            this.isMakingOffer = false;
        }
    }

    /* An offer or its answer can get lost with the connection of either page. */
    async offerAgain() {
        if (this.peer.signalingState !== "have-local-offer") return;
        if (!this.peer.remoteDescription) {
            // The first one is not taken back.
            this.describe();
            this.patience = setTimeout(() => this.offerAgain(), OFFER_PATIENCE_MS);
            return;
        }
        await this.peer.setLocalDescription({ type: "rollback" }).catch(() => {});
        this.peer.restartIce();
    }

    /* One signal after the other, as they came. */
    hear(signal) {
        this.work = this.work.then(() => this.take(signal)).catch(() => {});
    }

    async take(signal) {
        const { peer } = this;
        if (signal.kind === "candidate") {
            const { kind, ...candidate } = signal;
            try {
                await peer.addIceCandidate(candidate);
            } catch (error) {
                if (!this.ignoresOffer) throw error;
            }
            return;
        }
        if (signal.kind === "answer") {
            // Others answer an offer that was taken back since, or come twice.
            const isAwaited = signal.number === this.offers && peer.signalingState === "have-local-offer";
            if (isAwaited) await peer.setRemoteDescription({ type: "answer", sdp: signal.sdp });
            return;
        }
        const isKnown = signal.number === this.heardOffer && peer.signalingState === "stable";
        if (isKnown) return this.describe();
        const collides = this.isMakingOffer || peer.signalingState !== "stable";
        this.ignoresOffer = !this.isPolite && collides;
        if (this.ignoresOffer) {
            // Where the other page has not heard of this one's offer, that was lost.
            if (!this.isMakingOffer) this.describe();
            return;
        }
        await peer.setRemoteDescription({ type: "offer", sdp: signal.sdp });
        this.heardOffer = signal.number;
        await peer.setLocalDescription();
        this.describe();
    }

    /* What was told while the server could not be reached has not arrived. */
    resume() {
        if (this.peer.signalingState === "have-local-offer") this.describe();
        else this.recover();
    }

    changed() {
        const state = this.peer.connectionState;
        document.body.dataset.media = state;
        if (state === "connected") {
            say("");
            this.sendTracks();
        }
        if (state === "failed") this.recover();
        if (state === "disconnected") {
            say("The conversation was interrupted. Trying to bring it back …");
            setTimeout(() => this.recover(), DISCONNECTED_PATIENCE_MS);
        }
    }

    recover() {
        const state = this.peer.connectionState;
        if (state !== "connected" && state !== "closed") this.peer.restartIce();
    }

    /* What the network did since the last time; counters are differences. */
    async sample() {
        if (this.peer.connectionState !== "connected") return;
        const sums = { at: performance.now(), sent: 0, received: 0, lost: 0, packets: 0, freezes: 0 };
        const shares = [];
        const jitters = [];
        let roundTrip = null;
        let countsFreezes = false;
        for (const stats of (await this.peer.getStats()).values()) {
            if (stats.type === "outbound-rtp") sums.sent += stats.bytesSent || 0;
            if (stats.type === "inbound-rtp") {
                sums.received += stats.bytesReceived || 0;
                sums.lost += stats.packetsLost || 0;
                sums.packets += stats.packetsReceived || 0;
                if (Number.isFinite(stats.jitter)) jitters.push(stats.jitter);
                if (Number.isFinite(stats.freezeCount)) {
                    countsFreezes = true;
                    sums.freezes += stats.freezeCount;
                }
            }
            if (stats.type === "remote-inbound-rtp" && Number.isFinite(stats.fractionLost)) shares.push(stats.fractionLost);
            if (stats.type === "candidate-pair" && stats.nominated && Number.isFinite(stats.currentRoundTripTime)) {
                roundTrip = stats.currentRoundTripTime;
            }
        }
        const last = this.last || { at: sums.at - SAMPLE_MS, sent: 0, received: 0, lost: 0, packets: 0, freezes: 0 };
        this.last = sums;
        const lost = Math.max(0, sums.lost - last.lost);
        const packets = Math.max(0, sums.packets - last.packets);
        const kbps = (now, before) => Math.max(0, ((now - before) * 8) / Math.max(1, sums.at - last.at));
        const highest = (numbers) => (numbers.length ? Math.max(...numbers) : null);
        const sample = {
            round_trip_ms: roundTrip === null ? null : roundTrip * 1000,
            jitter_ms: jitters.length ? highest(jitters) * 1000 : null,
            send_loss: shares.length ? Math.min(1, Math.max(0, highest(shares))) : null,
            receive_loss: lost + packets ? lost / (lost + packets) : null,
            sent_kbps: kbps(sums.sent, last.sent),
            received_kbps: kbps(sums.received, last.received),
            freezes: countsFreezes ? Math.max(0, sums.freezes - last.freezes) : null,
        };
        tell({ type: "quality", ...sample });
        this.judge(sample);
    }

    /* Sound matters more than the picture. */
    judge(sample) {
        const isPoor = Math.max(sample.send_loss || 0, sample.receive_loss || 0) > POOR_LOSS;
        // What was poor without a picture says nothing about the next one.
        room.poorSamples = isPoor && !room.isCameraOff ? room.poorSamples + 1 : 0;
        if (room.poorSamples < POOR_SAMPLES) return;
        room.poorSamples = 0;
        toggleCamera(true);
        warn("The network is too slow for a picture, so your camera was switched off. You can switch it on again.");
    }

    close() {
        clearInterval(this.sampling);
        clearInterval(this.watching);
        clearTimeout(this.patience);
        this.peer.onnegotiationneeded = this.peer.onconnectionstatechange = null;
        this.peer.close();
    }
}

function hangUp() {
    if (!room.talk) return;
    room.talk.close();
    room.talk = null;
    document.body.dataset.media = "none";
    byId("remote").srcObject = null;
}

/* ---- what people do ---- */

async function toggleCamera(isOff) {
    setCameraOff(isOff);
    if (!isOff) return useDevices();
    for (const track of room.media.getVideoTracks()) {
        room.media.removeTrack(track);
        track.stop();
    }
    if (room.talk) room.talk.sendTracks();
    return undefined;
}

function setUp() {
    byId("camera").onchange = byId("microphone").onchange = useDevices;
    byId("speaker").onchange = () => {
        const remote = byId("remote");
        if (remote.setSinkId) remote.setSinkId(byId("speaker").value).catch(() => {});
    };
    byId("play").onclick = playSound;
    byId("test").onclick = testNetwork;
    byId("without-video").onchange = ({ target }) => toggleCamera(target.checked);
    byId("enter").onclick = () => {
        // A page that was not touched before may play and mix no sound.
        if (sound) sound.resume();
        show("entering");
        say("Going in …");
        connect("enter");
    };
    byId("mute").onclick = () => {
        room.isMuted = !room.isMuted;
        byId("mute").setAttribute("aria-pressed", String(room.isMuted));
        for (const track of room.media.getAudioTracks()) track.enabled = !room.isMuted;
    };
    byId("camera-off").onclick = () => toggleCamera(!room.isCameraOff);
    byId("extend").onclick = () => tell({ type: "extend", minutes: EXTENSION_MINUTES });
    byId("send-back").onclick = () => {
        if (room.view && room.view.peer) tell({ type: "send_back", session: room.view.peer.session });
    };
    byId("record").onclick = async ({ target }) => {
        if (!room.view || !room.view.recording) return record(true);
        target.disabled = true;
        await stopRecording();
        target.disabled = false;
        return undefined;
    };
    byId("leave").onclick = async ({ target }) => {
        target.disabled = true;
        const saved = room.recorder && stopRecording();
        hangUp();
        for (const track of room.media.getTracks()) track.stop();
        await saved;
        tell({ type: "leave" });
        target.disabled = false;
    };
    byId("leave-waiting").onclick = () => tell({ type: "leave" });
    byId("again").onclick = () => location.reload();
    addEventListener("online", () => room.socket && lose(room.socket));
    // Another link was opened in the same tab.
    addEventListener("hashchange", () => location.reload());
    setInterval(tick, 1000);
    if (navigator.mediaDevices) navigator.mediaDevices.ondevicechange = listDevices;
}

setUp();
if (!navigator.mediaDevices || !window.RTCPeerConnection) {
    finish("This browser cannot make video calls", "Use a current browser, and open the link as you were given it.", false);
} else if (token) {
    connect("look");
} else {
    // Anybody may try their devices, on any day.
    byId("enter").hidden = true;
    say("Here you can try your camera, microphone, speaker and network. To go into a room, open its link.");
    show("check");
    prepare();
}
