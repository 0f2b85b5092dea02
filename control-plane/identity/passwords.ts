import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { FleetError } from '../../shared/errors.ts'

/** OWASP's password storage cheat sheet, 2025: argon2id with 19 MiB, two passes and one lane. About 25 ms here. */
const MEMORY_KIB = 19_456
const PASSES = 2
const LANES = 1
const SALT_BYTES = 16
const TAG_BYTES = 32

/** Each hash in progress takes a thread of the pool and its 19 MiB; who comes when the queue is full is told to come back. */
const RUNNING_MAX = 4
const WAITING_MAX = 64

/** The PHC string format, as the argon2 reference program prints it: base64 without padding. */
const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})$/

/** The hash of no password: checking against it takes as long as against a real one, and never succeeds. */
const NOBODY: Hashed = {
  memory: MEMORY_KIB,
  passes: PASSES,
  parallelism: LANES,
  nonce: Buffer.alloc(SALT_BYTES),
  tag: Buffer.alloc(TAG_BYTES),
}

interface Hashed extends Pick<Argon2Parameters, 'memory' | 'passes' | 'parallelism'> {
  readonly nonce: Buffer
  readonly tag: Buffer
}

const argon2Async = promisify(argon2)

// Of the process, like the thread pool and the memory that they bound.
let running = 0
const waiting: (() => void)[] = []

/** @throws busy when too many wait already. */
async function derive(password: string, hashed: Hashed): Promise<Buffer> {
  if (running < RUNNING_MAX) running += 1
  else if (waiting.length >= WAITING_MAX) throw new FleetError('busy', 'too many passwords are being checked')
  else await new Promise<void>((resolve) => waiting.push(resolve))
  try {
    const { tag, ...parameters } = hashed
    return await argon2Async('argon2id', { message: password.normalize('NFC'), tagLength: tag.length, ...parameters })
  } finally {
    const next = waiting.shift()
    // The place passes to whoever waits; only without one is it free.
    if (next) next()
    else running -= 1
  }
}

function base64(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}

function parse(phc: string): Hashed | undefined {
  const [, memory, passes, parallelism, nonce = '', tag = ''] = PHC.exec(phc) ?? []
  if (memory === undefined) return undefined
  return {
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    nonce: Buffer.from(nonce, 'base64'),
    tag: Buffer.from(tag, 'base64'),
  }
}

/** @returns argon2id in PHC format, with a salt of its own. @throws busy. */
export async function hashPassword(password: string): Promise<string> {
  const hashed = { ...NOBODY, nonce: randomBytes(SALT_BYTES) }
  const tag = await derive(password, hashed)
  return `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=${LANES}$${base64(hashed.nonce)}$${base64(tag)}`
}

/**
 * Whether `password` is the one that `phc` was made of. Null, for users who are unknown or have no password, takes as long
 * and is false. @throws busy.
 */
export async function verifyPassword(password: string, phc: string | null): Promise<boolean> {
  const known = phc === null ? undefined : parse(phc)
  const hashed = known ?? NOBODY
  const matches = timingSafeEqual(await derive(password, hashed), hashed.tag)
  return matches && known !== undefined
}
