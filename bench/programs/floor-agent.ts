import { jetstream } from '@nats-io/jetstream'
import { connect } from 'nats'
import { z } from 'zod'
import { perform } from './bare-operation.ts'
import { FLOOR_AGENT, FLOOR_EVENT_SUBJECT, FLOOR_WORK, FloorOrder } from './floor-subjects.ts'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** The floor's agent side; what it is and what it lacks stands in `bench/floor.ts`. */
const options = readOptions(z.object({ natsUrl: z.string() }))

endWithParent()
const nats = await connect({ servers: options.natsUrl })
const js = jetstream(nats)
const orders = await js.consumers.get(FLOOR_WORK, FLOOR_AGENT)
await orders.consume({
  callback(message) {
    const { id, operation } = FloorOrder.parse(message.json())
    if (operation) perform(operation)
    const event = JSON.stringify({ id, state: 'succeeded' })
    void js.publish(FLOOR_EVENT_SUBJECT, event, { msgID: id }).then(() => message.ack())
  },
})
tellParent('ready')
