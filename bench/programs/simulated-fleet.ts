import { connect } from 'nats'
import { z } from 'zod'
import { BEAT_INTERVAL_MS, type Beat, type Hello, WIRE_VERSION } from '../../shared/wire/messages.ts'
import { hostOfSubject, subjects } from '../../shared/wire/subjects.ts'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** Many hosts in one process over one connection: each beats, evenly spread over the interval, and answers for its inventory. */
const { natsUrl, hosts } = readOptions(z.object({ natsUrl: z.string(), hosts: z.number().int().positive() }))

const SLICE_MS = 50
const SIZE_BYTES = 2 ** 40

endWithParent()
const nats = await connect({ servers: natsUrl })

function hello(host: string): Hello {
  const capabilities = { cow: true, atomic: true, enforcesReadonly: true }
  const pool = { name: 'main', driver: 'sim' as const, capabilities, sizeBytes: SIZE_BYTES, freeBytes: SIZE_BYTES / 2 }
  return {
    v: WIRE_VERSION,
    hash: host,
    inventory: { version: '0', slots: 1, pools: [pool], restorePaths: ['/tmp/'], sourcePaths: [], backupRoot: null },
  }
}

nats.subscribe(subjects.hostReads('*'), {
  callback: (_, message) => void message.respond(JSON.stringify(hello(hostOfSubject(message.subject)))),
})

/** Pools fill and empty, so that their free bytes are news now and then: one beat in four here. */
function beat(host: string, round: number): Beat {
  return { v: WIRE_VERSION, hash: host, free: [SIZE_BYTES / 2 - (round >> 2) * 4096], running: 0 }
}

const names = Array.from({ length: hosts }, (_, n) => `sim-${n}`)
const startedAt = performance.now()
let sent = 0
setInterval(() => {
  const due = Math.floor(((performance.now() - startedAt) / BEAT_INTERVAL_MS) * hosts)
  for (; sent < due; sent += 1) {
    const host = names[sent % hosts] ?? ''
    nats.publish(subjects.beat(host), JSON.stringify(beat(host, Math.floor(sent / hosts))))
  }
}, SLICE_MS)
process.on('message', () => tellParent(sent))
tellParent('ready')
