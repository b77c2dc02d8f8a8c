// Records a conversation as the specialist's page sees and hears it, and brings it to the clinic piece by piece.
//
// Whether it may, the server says: it takes a piece only while the clinic's setting and the patient's consent are in
// force. Pieces go one after the other, each until it has arrived, so that what is there is never torn in the middle.
"use strict";

const PIECE_MS = 5000;
const PICTURES_PER_SECOND = 12;
const PICTURE = { width: 960, height: 540 };
const RATES = { videoBitsPerSecond: 700000, audioBitsPerSecond: 64000 };
const SEND_AGAIN_MS = 2000;
const SEND_PATIENCE_MS = 30000;
const LAST_PIECES_MS = 10000;
/* Two minutes: a network that carries the conversation alone would let them grow for ever. */
const MOST_WAITING = 24;
const FORMATS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];

class Recorder {
    /*
     * `sources` gives the pictures (elements, the other's first) and the streams with sound, as they are now;
     * `onEnd` hears why it ended by itself. Throws where the browser cannot.
     */
    constructor(id, sound, sources, onEnd) {
        this.id = id;
        this.sources = sources;
        this.onEnd = onEnd;
        this.pieces = [];
        this.sent = 0;
        this.isOver = false;
        this.heard = new Map();
        this.sound = sound;
        // One that was made before anybody touched the page is silent until then.
        sound.resume();
        this.mix = sound.createMediaStreamDestination();
        this.canvas = document.createElement("canvas");
        Object.assign(this.canvas, PICTURE);
        this.draw();
        const tracks = [...this.canvas.captureStream(PICTURES_PER_SECOND).getTracks(), ...this.mix.stream.getTracks()];
        const mimeType = FORMATS.find((format) => MediaRecorder.isTypeSupported(format));
        this.recorder = new MediaRecorder(new MediaStream(tracks), { mimeType, ...RATES });
        this.ended = new Promise((resolve) => (this.recorder.onstop = resolve)).then(() => {
            if (!this.isFinishing) this.give("The recording ended: this browser cannot go on with it.");
        });
        this.recorder.ondataavailable = ({ data }) => {
            if (!data.size) return;
            this.pieces.push(data);
            this.sending = (this.sending || Promise.resolve()).then(() => this.send());
            if (this.pieces.length > MOST_WAITING) this.give("The recording ended: the network is too slow for it.");
        };
        this.recorder.start(PIECE_MS);
        this.drawing = setInterval(() => this.draw(), 1000 / PICTURES_PER_SECOND);
    }

    static isPossible() {
        return Boolean(window.MediaRecorder && HTMLCanvasElement.prototype.captureStream);
    }

    draw() {
        const { pictures, sounds } = this.sources();
        const { width, height } = PICTURE;
        const paper = this.canvas.getContext("2d");
        paper.fillStyle = "#111";
        paper.fillRect(0, 0, width, height);
        const [other, own] = pictures;
        fit(paper, other, 0, 0, width, height);
        fit(paper, own, width * 0.74, height * 0.74, width * 0.24, height * 0.24);
        for (const stream of sounds) this.hear(stream);
    }

    /* A track that took the place of another one, or came later, is mixed in too. */
    hear(stream) {
        const [track] = stream ? stream.getAudioTracks() : [];
        // Another conversation's track may have the name of the one before.
        if (!track || this.heard.has(track)) return;
        const source = this.sound.createMediaStreamSource(new MediaStream([track]));
        source.connect(this.mix);
        this.heard.set(track, source);
    }

    async send() {
        const piece = this.pieces[0];
        while (piece && !this.isOver) {
            const answer = await fetch(`/rooms/recordings/${this.id}/${this.sent}`, {
                method: "PUT",
                headers: { authorization: `Bearer ${token}`, "content-type": "application/octet-stream" },
                body: piece,
                signal: AbortSignal.timeout(SEND_PATIENCE_MS),
            }).catch(() => null);
            if (answer && answer.ok) {
                this.pieces.shift();
                this.sent += 1;
                return;
            }
            if (answer && answer.status < 500 && answer.status !== 429) {
                return this.give("The recording has ended.");
            }
            await new Promise((resolve) => setTimeout(resolve, SEND_AGAIN_MS));
        }
    }

    /* Ends it by itself. */
    give(why) {
        if (this.isOver) return;
        this.abandon();
        this.onEnd(why);
    }

    /* Ends it; resolves when what was recorded has arrived, or after a while. */
    async finish() {
        this.isFinishing = true;
        if (this.recorder.state !== "inactive") this.recorder.stop();
        await this.ended;
        const tooLong = new Promise((resolve) => setTimeout(resolve, LAST_PIECES_MS));
        await Promise.race([this.sending || Promise.resolve(), tooLong]);
        this.abandon();
    }

    /* Ends it; what has not arrived is forgotten. */
    abandon() {
        this.isOver = this.isFinishing = true;
        this.pieces = [];
        clearInterval(this.drawing);
        if (this.recorder.state !== "inactive") this.recorder.stop();
        for (const source of this.heard.values()) source.disconnect();
    }
}

/* Draws all of a picture into a frame, without stretching it. */
function fit(paper, video, x, y, width, height) {
    if (!video || video.hidden || !video.videoWidth) return;
    const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
    const [shownWidth, shownHeight] = [video.videoWidth * scale, video.videoHeight * scale];
    paper.drawImage(video, x + (width - shownWidth) / 2, y + (height - shownHeight) / 2, shownWidth, shownHeight);
}
