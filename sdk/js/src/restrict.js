// What of JavaScript differs from run to run, or from engine to engine, is not there for a plugin.
//
// Owns: the list, and the words that say what to use instead. Does not own: WASI, which the component does not import at all.
//
// Math.sin() and its kin stay: the component carries its engine, so that they give the same in each replay.
//
// Invariant: imported before the plugin, so that it cannot keep a reference.

const CLOCK = "take the record's event time (eventTime)";
const CHANCE = 'derive numbers from the record, such as from its key';

class NotDeterministic extends Error {
    name = 'NotDeterministic';
}

function refused(what, instead) {
    return function () {
        throw new NotDeterministic(`${what} is not there for a plugin, since a replay would differ: ${instead}`);
    };
}

function replace(object, name, what, instead) {
    if (object && name in object) Object.defineProperty(object, name, { value: refused(what, instead), writable: false, configurable: false });
}

replace(Math, 'random', 'Math.random()', CHANCE);
const Original = Date;
const Restricted = function Date(...given) {
    if (!new.target || given.length === 0) return refused(new.target ? 'new Date()' : 'Date()', CLOCK)();
    return Reflect.construct(Original, given, new.target === Restricted ? Original : new.target);
};
Restricted.prototype = Original.prototype;
Restricted.UTC = Original.UTC;
Restricted.parse = Original.parse;
Original.prototype.constructor = Restricted;
globalThis.Date = Restricted;
Object.defineProperty(Restricted, 'now', { value: refused('Date.now()', CLOCK) });
// Fields of a local time are those of a zone, which is the machine's.
for (const name of Object.getOwnPropertyNames(Original.prototype)) {
    if (/^(get|set)(Date|Day|FullYear|Hours|Milliseconds|Minutes|Month|Seconds|Year|TimezoneOffset)$|^toLocale|^to(Date|Time)?String$/.test(name)) {
        replace(Original.prototype, name, `Date.prototype.${name}()`, 'use the forms of UTC, such as getUTCHours() and toISOString(), or civil() and hourOf() of segno');
    }
}
if (globalThis.performance) {
    replace(globalThis.performance, 'now', 'performance.now()', CLOCK);
    Object.defineProperty(globalThis, 'performance', { value: undefined });
}
if (globalThis.crypto) Object.defineProperty(globalThis, 'crypto', { value: undefined });
for (const [object, name] of [[Array.prototype, 'toLocaleString'], [Number.prototype, 'toLocaleString'], [BigInt.prototype, 'toLocaleString'],
    [String.prototype, 'localeCompare'], [String.prototype, 'toLocaleLowerCase'], [String.prototype, 'toLocaleUpperCase']]) {
    replace(object, name, `${name}()`, 'use a form without a locale: compare with <, toLowerCase(), String(number)');
}
for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'requestIdleCallback']) {
    replace(globalThis, name, `${name}()`, 'set a timer (timers.set)');
}
for (const name of ['fetch', 'Request', 'Response', 'WebSocket']) {
    replace(globalThis, name, name === 'fetch' ? 'fetch()' : `new ${name}()`, 'hand rows in as a side table of the step');
}
// When memory is collected is nobody's to know.
for (const name of ['WeakRef', 'FinalizationRegistry']) {
    replace(globalThis, name, `new ${name}()`, 'keep what you need, or let it go');
}
if (globalThis.Intl) Object.defineProperty(globalThis, 'Intl', { value: undefined });
