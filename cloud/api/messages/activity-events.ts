/** The headers of records about what users did; their values are checked by the activity log, with the schemas it has. */

import { Type } from '@sinclair/typebox'

export const ACTIVITY_HEADERS_SCHEMA = Type.Object(
  {
    source: Type.Optional(Type.String({ description: 'The program that put it onto the bus' })),
    timestamp: Type.Optional(Type.String({ format: 'date-time', description: 'That of the value' })),
    replayOf: Type.Optional(Type.String({ description: 'The dead letter that it was replayed from' })),
  },
  { $id: 'ActivityHeaders', description: 'Headers of a record about what a user did' },
)
