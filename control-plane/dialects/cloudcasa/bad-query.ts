import { WireError } from '../../http/route.ts'
import { queryFault } from './envelope.ts'

/** A list that cannot be asked for so: 400, as in Eve, where 422 is for documents. */
export function badQuery(parameter: string, reason: string): WireError {
  return new WireError(400, queryFault(parameter, reason))
}
