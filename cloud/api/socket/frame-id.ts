/** The client's own name for a frame, by which its answer is known. */

import { Type } from '@sinclair/typebox'

export const FrameId = Type.String({ minLength: 1, maxLength: 64, description: "The client's own name for it" })
