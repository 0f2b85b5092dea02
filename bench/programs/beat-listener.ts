import { connect } from 'nats'
import { z } from 'zod'
import { subjects } from '../../shared/wire/subjects.ts'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** The peer of beats: hears every beat, reads its JSON, remembers when and what; no schema, no Postgres, no transitions. */
const { natsUrl } = readOptions(z.object({ natsUrl: z.string() }))

endWithParent()
const seen = new Map<string, { atMs: number; beat: unknown }>()
const nats = await connect({ servers: natsUrl })
let heard = 0
nats.subscribe(subjects.allBeats, {
  callback(_, message) {
    heard += 1
    seen.set(message.subject, { atMs: Date.now(), beat: message.json() })
  },
})
process.on('message', () => tellParent(heard))
tellParent('ready')
