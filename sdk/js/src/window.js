// Windows of event time: tumbling and sliding ones.
//
// Owns: which windows there are, what is kept for each, and their results. Does not own: timers (`transform`), when they fire (the
// host). Session windows and other operators are in the Rust SDK.
//
// Invariant: a window takes the records from its start up to its end, without the end. Its result is given once when the watermark
// reaches the end, and again for each instant at which late records that are allowed changed it.

import { StateShape, bool, timestamp } from './columns.js';
import { count } from './observe.js';
import { readState, writeState } from './state.js';
import { Keyed, Reject, stateOf } from './transform.js';
import { after, floor, timeText } from './values.js';

const END = 0;
const EARLY = 1;
const UPDATE = 2;

/**
 * A record is late: the watermark has reached the end of the last window that it belongs to. Not caught, it rejects the record;
 * caught, the record may go to a port of late records.
 */
export class Late extends Reject {
    constructor(end) {
        count('late_records');
        super(`the record is late: what it belongs to ended at ${timeText(end)}, which the watermark has reached`);
        this.end = end;
    }
}

const HEAD = { start: timestamp, end: timestamp, changed: bool, closed: bool };

/** The open windows of a key: a table of its own, named `windows`. */
class PanesShape {
    constructor(columns, version) {
        this.table = 'windows';
        this.version = version;
        this.head = new StateShape(HEAD, 'window', version);
        this.value = new StateShape(columns, 'window', version);
        const value = { attribute: 'value', kind: null, inside: this.value.stored, items: null, valueOf: null };
        this.stored = [{ name: 'windows', attribute: 'panes', kind: null, since: 1, items: [...this.head.stored, value], inside: null, valueOf: null }];
    }

    /** Of the list and the panes in it an author sees nothing: they stay from one event to the next. */
    kept(panes) {
        return panes;
    }

    write(panes) {
        return writeState(this.version, this.stored, { panes });
    }

    read(bytes) {
        return readState(this.version, this.stored, bytes).panes;
    }

    /** What a new key has. */
    first() {
        return [];
    }

    stateSpecs() {
        return [{ name: 'windows', type: 'list', nullable: false, columns: [...this.head.stateSpecs(), ...this.value.stateSpecs()] }];
    }
}

class Panes extends Keyed {
    /** The panes whose values the author has. */
    #given = [];

    enter(key) {
        super.enter(key);
        this.#given.length = 0;
    }

    leave() {
        for (let at = 0; at < this.#given.length; at++) {
            const pane = this.#given[at];
            pane.value = this.copy(pane);
        }
        super.leave();
    }

    set() {
        throw new TypeError('windows are changed through Tumbling or Sliding; clear() forgets those of the key');
    }

    /** What is kept for a window, to be changed in place. */
    value(pane) {
        this.#given.push(pane);
        return pane.value;
    }

    /** What is kept for a window, as an object of its own. */
    copy(pane) {
        return this.shape.value.kept(pane.value);
    }

    at(start, end, closed) {
        const panes = this.orDefault();
        let at = panes.length;
        while (at > 0 && panes[at - 1].start > start) at--;
        const isNew = at === 0 || panes[at - 1].start !== start;
        if (isNew) panes.splice(at, 0, { start, end, changed: false, closed, value: this.shape.value.first() });
        return [panes[isNew ? at : at - 1], isNew];
    }

    letGo(over) {
        const panes = this.get();
        if (panes === null) return [];
        panes.splice(0, panes.length, ...panes.filter((pane) => !over(pane)));
        if (!panes.length) this.clear();
        return panes;
    }
}

/** The open windows of each key, and what is kept for each window: declared under `state`, and handed to `Tumbling` or `Sliding`. */
export function panes(columns, { version = 1 } = {}) {
    return stateOf(new PanesShape(columns, version), Panes);
}

class Windows {
    constructor(panes, size, { allowedLateness = 0n, earlyEvery = null, timerNumber = 0 }) {
        if (!(panes instanceof Panes)) throw new TypeError('windows are kept in state that is declared with `panes`');
        for (const [name, value] of Object.entries({ size, allowedLateness, earlyEvery: earlyEvery ?? 1n })) {
            if (typeof value !== 'bigint') throw new TypeError(`${name} is a duration: a bigint of microseconds, such as 5n * MINUTE`);
        }
        if (size <= 0n) throw new RangeError('the size of a window is longer than nothing');
        Object.assign(this, { panes, size, lateness: allowedLateness, early: earlyEvery, number: timerNumber });
    }

    get timers() {
        return this.panes.timers;
    }

    over(end) {
        return this.timers.reached(after(end, this.lateness));
    }

    nextEarly(time) {
        return after(floor(time, this.early), this.early);
    }

    setEarly(time, end) {
        if (this.early === null) return;
        const following = this.nextEarly(time);
        if (following < end) this.timers.set(following, this.number + EARLY);
    }

    /** A timer that a late record set fires late itself. */
    now(timer) {
        const watermark = this.timers.watermark;
        return watermark === null || watermark < timer.time ? timer.time : watermark;
    }

    counted(fired) {
        const updates = fired.filter((one) => one.kind === 'update').length;
        if (fired.length > updates) count('windows', fired.length - updates);
        if (updates) count('window_updates', updates);
        return fired;
    }
}

/**
 * Windows of one size, one after the other, aligned to 1970. Each record belongs to one of them.
 *
 * `offset`: windows start so much after the multiples of their size. `allowedLateness`: a window is kept for so long after its end;
 * late records change it, and each change gives its result again. `earlyEvery`: the result of a window that has changed is given at
 * every multiple of this event time, before it ends. `timerNumber`: the first of the three numbers of its timers, for plugins that
 * have others. Durations are bigints of microseconds.
 */
export class Tumbling extends Windows {
    constructor(panes, size, { offset = 0n, ...more } = {}) {
        super(panes, size, more);
        this.offset = ((offset % size) + size) % size;
    }

    /** The window of an event time. */
    window(time) {
        const start = after(floor(after(time, -this.offset), this.size), this.offset);
        return { start, end: after(start, this.size) };
    }

    /**
     * What is kept for the window of a record, to be changed in place. Throws `Late` when the window is closed, and the time of its
     * late records is over.
     */
    add(time) {
        const { start, end } = this.window(time);
        const over = this.timers.reached(end);
        if (over && this.over(end)) throw new Late(end);
        const [pane, isNew] = this.panes.at(start, end, over);
        if (isNew) {
            if (this.lateness > 0n) this.timers.set(after(end, this.lateness), this.number);
            this.setEarly(time, end);
        }
        if (isNew || (over && !pane.changed)) this.timers.set(end, this.number);
        pane.changed = true;
        return this.panes.value(pane);
    }

    /** The results that a timer gives: `{ start, end, kind, value }`; none for timers of other numbers. */
    fire(timer) {
        const panes = this.panes.get();
        const kind = timer.number - this.number;
        if (panes === null) return [];
        if (kind === EARLY) return this.#fireEarly(panes, timer);
        if (kind !== END) return [];
        const fired = [];
        for (const pane of panes) {
            // An early result changes nothing about the one on time.
            if (pane.end === timer.time && (pane.changed || !pane.closed)) {
                fired.push({ start: pane.start, end: pane.end, kind: pane.closed ? 'update' : 'on_time', value: this.panes.copy(pane) });
                pane.changed = false;
            }
            pane.closed ||= this.timers.reached(pane.end);
        }
        this.panes.letGo((pane) => this.over(pane.end));
        return this.counted(fired);
    }

    #fireEarly(panes, timer) {
        const now = this.now(timer);
        const fired = [];
        for (const pane of panes) {
            if (!pane.closed && pane.changed && pane.end > now) {
                pane.changed = false;
                fired.push({ start: pane.start, end: pane.end, kind: 'early', value: this.panes.copy(pane) });
            }
        }
        if (this.early !== null && panes.some((pane) => !pane.closed && pane.end > now)) {
            this.timers.set(this.nextEarly(now), this.number + EARLY);
        }
        return fired;
    }
}

function gcd(a, b) {
    while (b) [a, b] = [b, a % b];
    return a;
}

/**
 * Windows of one size that start at every slide, aligned to 1970. A record belongs to `size / slide` of them.
 *
 * Kept as slices whose width divides both: a record changes one slice, and a window is put together when it ends, by `merge(whole,
 * part)`, which adds a part to what it is given. Settings as for `Tumbling`.
 */
export class Sliding extends Windows {
    constructor(panes, size, slide, { merge, ...more } = {}) {
        super(panes, size, more);
        if (typeof slide !== 'bigint' || slide <= 0n || slide > size) {
            throw new RangeError('the slide of a window is longer than nothing, and not longer than the window');
        }
        if (typeof merge !== 'function') throw new TypeError('a sliding window has `merge(whole, part)`');
        Object.assign(this, { slide, merge, slice: gcd(size, slide) });
    }

    /** The end of the last window that holds an event time. */
    #last(time) {
        return after(floor(time, this.slide), this.size);
    }

    /** The end of the first window that ends after a time. */
    #nextEnd(time) {
        // Ends are `size` after multiples of the slide.
        const shift = this.size % this.slide;
        return after(floor(after(time, -shift), this.slide), this.slide + shift);
    }

    /**
     * What is kept for the slice of a record, to be changed in place. Throws `Late` when all windows of the record are closed, and
     * the time of their late records is over.
     */
    add(time) {
        const last = this.#last(time);
        if (this.over(last)) throw new Late(last);
        const start = floor(time, this.slice);
        const first = this.#nextEnd(start);
        const over = this.timers.reached(first);
        const [pane, isNew] = this.panes.at(start, after(start, this.slice), false);
        if (isNew && !over) this.timers.set(first, this.number);
        if (over && (isNew || !pane.changed)) {
            // Windows that were given, or were empty, are given again; the first that is open comes as it would have.
            for (let end = first; end <= last; end = after(end, this.slide)) {
                if (!this.timers.reached(end)) {
                    this.timers.set(end, this.number);
                    break;
                }
                if (!this.over(end)) this.timers.set(end, this.number + UPDATE);
            }
            if (isNew) this.timers.set(after(last, this.lateness), this.number);
        }
        if (isNew) this.setEarly(time, last);
        pane.changed = true;
        return this.panes.value(pane);
    }

    /** The results that a timer gives, as of `Tumbling`. Early results are those of the next window that ends. */
    fire(timer) {
        const panes = this.panes.get();
        const kind = timer.number - this.number;
        if (panes === null) return [];
        if (kind === EARLY) return this.#fireEarly(panes, timer);
        if (kind !== END && kind !== UPDATE) return [];
        const again = kind === UPDATE;
        const end = timer.time;
        const fired = this.#nextEnd(after(end, -1n)) === end ? this.#putTogether(panes, end, again ? 'update' : 'on_time') : [];
        for (const pane of panes) pane.changed &&= !(this.timers.reached(pane.end) && pane.end <= end);
        const left = this.panes.letGo((pane) => this.over(this.#last(pane.start)));
        if (!again && left.length) {
            // The timer goes on to the next window that holds something, then to where the last slice is let go.
            const holding = left.filter((pane) => this.#last(pane.start) > end);
            if (holding.length) {
                const ends = holding.map((pane) => this.#nextEnd(pane.start));
                const following = ends.reduce((a, b) => (b < a ? b : a));
                const next = after(end, this.slide);
                this.timers.set(following > next ? following : next, this.number);
            } else {
                for (const pane of left) this.timers.set(after(this.#last(pane.start), this.lateness), this.number);
            }
        }
        return this.counted(fired);
    }

    #fireEarly(panes, timer) {
        const now = this.now(timer);
        const end = this.#nextEnd(now);
        const start = after(end, -this.size);
        let fired = [];
        if (panes.some((pane) => pane.changed && pane.start >= start && pane.end <= end)) {
            fired = this.#putTogether(panes, end, 'early');
            for (const pane of panes) pane.changed = false;
        }
        if (this.early !== null && panes.some((pane) => this.#last(pane.start) > now)) {
            this.timers.set(this.nextEarly(now), this.number + EARLY);
        }
        return fired;
    }

    #putTogether(panes, end, kind) {
        const start = after(end, -this.size);
        const slices = panes.filter((pane) => pane.start >= start && pane.end <= end);
        if (!slices.length) return [];
        const value = this.panes.copy(slices[0]);
        for (const other of slices.slice(1)) this.merge(value, this.panes.copy(other));
        return [{ start, end, kind, value }];
    }
}
