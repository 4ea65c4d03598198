// Instants, days and decimals: what JavaScript has no exact values for.
//
// Owns: these, and their texts. Does not own: their bytes (`wire`).
//
// An instant is a bigint: microseconds since 1970-01-01T00:00:00 UTC. A duration is a bigint of microseconds. A day is a number:
// days since 1970-01-01. A decimal is a `Decimal`. `Date` of JavaScript is none of them: it has milliseconds, and a time zone.

/** Durations, in microseconds. */
export const MILLISECOND = 1000n;
export const SECOND = 1_000_000n;
export const MINUTE = 60n * SECOND;
export const HOUR = 60n * MINUTE;
export const DAY = 24n * HOUR;

const LEAST = -(1n << 63n);
const MOST = (1n << 63n) - 1n;

function saturated(micros) {
    return micros < LEAST ? LEAST : micros > MOST ? MOST : micros;
}

function floorDivision(a, b) {
    const quotient = a / b;
    return a % b < 0n ? quotient - 1n : quotient;
}

const modulo = (a, b) => ((a % b) + b) % b;

/** The instant that is so much later; at the ends of time it stays there. */
export function after(time, duration) {
    return saturated(time + duration);
}

/** The start of the window of this width that holds the instant; windows are aligned to 1970. */
export function floor(time, width) {
    return saturated(floorDivision(time, width) * width);
}

/** The day of an instant, in UTC. */
export function dayOf(time) {
    return Number(floorDivision(time, DAY));
}

/** The hour of the day in UTC, 0 to 23. */
export function hourOf(time) {
    return Number(modulo(time, DAY) / HOUR);
}

/** Year, month (1 to 12) and day (1 to 31) in the Gregorian calendar, for every day there is. */
export function civil(day) {
    // Howard Hinnant's days-to-civil: eras of 400 years that start on the first of March.
    const shifted = day + 719_468;
    const era = Math.floor(shifted / 146_097);
    const ofEra = shifted - era * 146_097;
    const year = Math.floor((ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365);
    const ofYear = ofEra - (365 * year + Math.floor(year / 4) - Math.floor(year / 100));
    const shiftedMonth = Math.floor((5 * ofYear + 2) / 153);
    const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
    return { year: year + era * 400 + (month <= 2 ? 1 : 0), month, day: ofYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1 };
}

const padded = (number, width) => (number < 0 ? '-' : '') + String(Math.abs(number)).padStart(number < 0 ? width - 1 : width, '0');

/** A day as 2024-05-01. */
export function dayText(day) {
    const { year, month, day: ofMonth } = civil(day);
    return `${padded(year, 4)}-${padded(month, 2)}-${padded(ofMonth, 2)}`;
}

/** An instant as 2024-05-01T10:05:00.000000Z. */
export function timeText(time) {
    const micros = Number(modulo(time, DAY));
    const [hour, minute, second] = [micros / 3_600_000_000, (micros / 60_000_000) % 60, (micros / 1_000_000) % 60].map(Math.floor);
    return `${dayText(dayOf(time))}T${padded(hour, 2)}:${padded(minute, 2)}:${padded(second, 2)}.${padded(micros % 1_000_000, 6)}Z`;
}

/** An exact decimal: `digits` times ten to the power of minus `scale`. */
export class Decimal {
    /** @param {bigint} digits @param {number} scale */
    constructor(digits, scale) {
        if (typeof digits !== 'bigint' || !Number.isInteger(scale)) throw new TypeError('a Decimal is made of a bigint and a whole number');
        this.digits = digits;
        this.scale = scale;
        Object.freeze(this);
    }

    /** Of a text such as `-12.50`. */
    static of(text) {
        const found = /^([+-]?)(\d+)(?:\.(\d+))?$/.exec(text);
        if (!found) throw new RangeError(`${JSON.stringify(text)} is no decimal`);
        const [, sign, whole, part = ''] = found;
        const digits = BigInt(whole + part);
        return new Decimal(sign === '-' ? -digits : digits, part.length);
    }

    /** With so many digits behind the point; further ones are cut off, towards zero. */
    truncated(scale) {
        const shift = scale - this.scale;
        return new Decimal(shift >= 0 ? this.digits * 10n ** BigInt(shift) : this.digits / 10n ** BigInt(-shift), scale);
    }

    /** The digits at a scale; `null` where some would be lost. */
    digitsAt(scale) {
        const same = this.truncated(scale);
        return same.compare(this) === 0 ? same.digits : null;
    }

    plus(other) {
        const scale = Math.max(this.scale, other.scale);
        return new Decimal(this.truncated(scale).digits + other.truncated(scale).digits, scale);
    }

    minus(other) {
        return this.plus(new Decimal(-other.digits, other.scale));
    }

    times(other) {
        return new Decimal(this.digits * other.digits, this.scale + other.scale);
    }

    /** -1, 0 or 1. */
    compare(other) {
        const scale = Math.max(this.scale, other.scale);
        const [a, b] = [this.truncated(scale).digits, other.truncated(scale).digits];
        return a < b ? -1 : a > b ? 1 : 0;
    }

    toString() {
        const negative = this.digits < 0n;
        const digits = String(negative ? -this.digits : this.digits);
        if (this.scale <= 0) return (negative ? '-' : '') + (this.digits === 0n ? '0' : digits + '0'.repeat(-this.scale));
        const full = digits.padStart(this.scale + 1, '0');
        return `${negative ? '-' : ''}${full.slice(0, -this.scale)}.${full.slice(-this.scale)}`;
    }
}
