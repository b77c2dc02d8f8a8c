// Replays the trail: reads entries as they come, one JSON object a line, and goes on after the last one that it has seen,
// whether somebody paused it, chose another speed, or the connection broke.
"use strict";

const SHOWN = 500;
const RETRY_MS = 1000;
const RETRIES = 5;

const byId = (id) => document.getElementById(id);

/* What the page knows. */
const replay = {
    filter: null,
    after: 0,
    shown: 0,
    total: 0,
    /* Ends the request under way; nothing where there is none. */
    running: null,
};

function say(text) {
    byId("told").textContent = text;
}

function phase(name) {
    document.body.dataset.replay = name;
    byId("pause").disabled = name === "idle";
    byId("pause").textContent = name === "paused" ? "Go on" : "Pause";
}

/* ---- entries ---- */

function cell(row, text) {
    row.insertCell().textContent = text;
}

function shortened(id) {
    return id ? ` …${id.slice(-8)}` : "";
}

function add(entries) {
    const body = byId("entries");
    for (const entry of entries) {
        const row = body.insertRow(0);
        row.title = `entry ${entry.sequence}, event ${entry.event_id}`;
        cell(row, entry.recorded_at.slice(0, 19).replace("T", " "));
        cell(row, `${entry.event} (${entry.action})`);
        cell(row, entry.target_kind + shortened(entry.target_id));
        cell(row, (entry.actor.role ?? entry.actor.kind) + shortened(entry.actor.id));
        cell(row, entry.outcome);
        replay.after = entry.sequence;
    }
    while (body.rows.length > SHOWN) body.deleteRow(-1);
    replay.shown += entries.length;
    byId("progress").max = Math.max(replay.total, 1);
    byId("progress").value = replay.shown;
}

/* ---- the stream ---- */

function query() {
    const query = new URLSearchParams(replay.filter);
    query.set("speed", byId("speed").value);
    query.set("after", replay.after);
    return query;
}

/* Reads until the end, which is true, or until the stream breaks off, which is false. */
async function read(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return false;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        const entries = lines.map((line) => JSON.parse(line));
        const isOver = entries.length > 0 && entries[entries.length - 1].end === true;
        if (isOver) entries.pop();
        add(entries);
        if (isOver) return true;
    }
}

async function problem(response) {
    const text = await response.json().catch(() => ({}));
    return text.detail ?? text.title ?? `The answer was ${response.status}.`;
}

async function run() {
    replay.running?.abort();
    const own = new AbortController();
    replay.running = own;
    phase("running");
    say("Replaying …");
    for (let failures = 0; failures < RETRIES; ) {
        const before = replay.shown;
        try {
            const response = await fetch(`/console/trail/replay?${query()}`, { signal: own.signal });
            if (response.redirected) return location.assign("/console/sign-in");
            if (response.status === 429 || response.status >= 500) return pause(await problem(response), own);
            if (!response.ok) return end(own, await problem(response));
            replay.total = replay.shown + Number(response.headers.get("carelog-entries"));
            if (await read(response)) return end(own, `The end: ${replay.shown} entries.`);
        } catch (error) {
            if (own.signal.aborted) return;
        }
        failures = replay.shown > before ? 0 : failures + 1;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        if (own.signal.aborted) return;
    }
    pause("The connection broke: go on when it is back.", own);
}

function end(own, text) {
    if (replay.running !== own) return;
    replay.running = null;
    phase("idle");
    say(text);
}

/* Pauses what runs; nothing where that is another one than is meant. */
function pause(text, own = replay.running) {
    if (replay.running !== own) return;
    replay.running?.abort();
    replay.running = null;
    phase("paused");
    say(text);
}

/* ---- the form ---- */

function filter() {
    const filter = {};
    for (const [name, value] of new FormData(byId("replay"))) {
        if (value === "" || name === "speed") continue;
        filter[name] = name === "from" || name === "before" ? `${value}${value.length === 16 ? ":00" : ""}Z` : value.trim();
    }
    return filter;
}

byId("replay").addEventListener("submit", (event) => {
    event.preventDefault();
    Object.assign(replay, { filter: filter(), after: 0, shown: 0, total: 0 });
    byId("entries").replaceChildren();
    add([]);
    run();
});

byId("pause").addEventListener("click", () => {
    if (document.body.dataset.replay === "paused") run();
    else pause(`Paused after ${replay.shown} of ${replay.total} entries.`);
});

byId("speed").addEventListener("change", () => {
    if (replay.running) run();
});

phase("idle");
