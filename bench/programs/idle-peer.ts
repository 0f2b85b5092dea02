import { connect } from 'nats'
import { z } from 'zod'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** The peer of an idle agent: Node with a NATS connection and zod loaded, which nothing of our shape can do without. */
const { natsUrl } = readOptions(z.object({ natsUrl: z.string() }))

endWithParent()
await connect({ servers: natsUrl })
tellParent('ready')
