// A mesh in a canvas by WebGL 2, without a library, and a camera that goes round it by mouse, finger and keys.

// Returns positions, normals, colours (linear light), indices, and if there is a texture its coordinates and its picture
// (a Blob) of a .glb with one mesh, as `ops/gltf.py` writes it.
function readGlb(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 28 || view.getUint32(0, true) !== 0x46546c67) throw new Error("this is no .glb file");
  const length = view.getUint32(12, true), start = 28 + length;
  const content = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, length)));
  const part = (number) => {
    const found = content.accessors[number], from = content.bufferViews[found.bufferView];
    const Kind = found.componentType === 5125 ? Uint32Array : Float32Array;
    return new Kind(buffer, start + from.byteOffset, found.count * ({VEC3: 3, VEC2: 2}[found.type] || 1));
  };
  const primitive = content.meshes[0].primitives[0], attributes = primitive.attributes;
  const places = part(attributes.POSITION), painted = content.textures !== undefined;
  const image = () => {
    const entry = content.images[content.textures[0].source], from = content.bufferViews[entry.bufferView];
    return new Blob([new Uint8Array(buffer, start + from.byteOffset, from.byteLength)], {type: entry.mimeType});
  };
  return {places, uv: painted ? part(attributes.TEXCOORD_0) : new Float32Array(places.length / 3 * 2),
    image: painted ? image() : null, normals: part(attributes.NORMAL), faces: part(primitive.indices),
    colours: attributes.COLOR_0 === undefined ? new Float32Array(places.length).fill(0.5) : part(attributes.COLOR_0)};
}

const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

const vertexShader = `#version 300 es
in vec3 place, normal, colour;
in vec2 uv;
uniform mat4 view, frustum;
out vec3 facing, paint;
out vec2 spot;
out float far;
void main() {
  vec4 seen = view * vec4(place, 1.0);
  facing = normal; paint = colour; spot = uv; far = -seen.z;
  gl_Position = frustum * seen;
}`;
const pixelShader = `#version 300 es
precision highp float;
in vec3 facing, paint;
in vec2 spot;
in float far;
uniform int shown;
uniform bool painted;
uniform sampler2D picture;
uniform float exposure, distance;
uniform vec3 lamp, upwards;
out vec4 pixel;
vec3 curve(vec3 light) {
  light = clamp(light, 0.0, 1.0);
  return mix(12.92 * light, 1.055 * pow(max(light, vec3(0.0031308)), vec3(1.0 / 2.4)) - 0.055, step(0.0031308, light));
}
void main() {
  vec3 n = normalize(facing), own = painted ? texture(picture, spot).rgb : paint;
  float shade = 0.75 * max(dot(n, lamp), 0.0) + 0.35 + 0.25 * dot(n, upwards);
  if (shown == 0) pixel = vec4(curve(exposure * own * shade), 1.0);
  else if (shown == 1) pixel = vec4(curve(exposure * own), 1.0);
  else if (shown == 2) pixel = vec4(vec3(exposure * 0.7 * shade), 1.0);
  else if (shown == 3) pixel = vec4(n * 0.5 + 0.5, 1.0);
  else pixel = vec4(vec3(distance / (distance + far)), 1.0);
}`;

// Returns a function that draws the mesh: draw({eye, right, up, back, tangent, distance}, shown, exposure, paper). All
// vectors are in the axes of the file; `tangent` is that of half the field of view upwards; `paper` is r g b behind it.
// Its `ready` is a promise: once kept, the texture is there, and what was drawn before has to be drawn again.
function meshView(canvas, mesh) {
  const gl = canvas.getContext("webgl2", {antialias: true, preserveDrawingBuffer: true});
  if (!gl) throw new Error("this browser shows no WebGL 2");
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertexShader], [gl.FRAGMENT_SHADER, pixelShader]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "no WebGL");
  gl.useProgram(program);
  for (const [name, values, width] of [["place", mesh.places, 3], ["normal", mesh.normals, 3],
    ["colour", mesh.colours, 3], ["uv", mesh.uv, 2]]) {
    const at = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, gl.FLOAT, false, 0, 0);
  }
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.faces, gl.STATIC_DRAW);
  gl.enable(gl.DEPTH_TEST);
  const place = Object.fromEntries(["view", "frustum", "shown", "exposure", "distance", "lamp", "upwards",
    "painted"].map(
    (name) => [name, gl.getUniformLocation(program, name)]));
  let isPainted = false;
  const draw = (camera, shown, exposure, paper) => {
    const {eye, right, up, back, tangent, distance} = camera, near = distance / 50, far = distance * 20;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(...paper, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(place.view, false, [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0,
      right[2], up[2], back[2], 0, -dot(right, eye), -dot(up, eye), -dot(back, eye), 1]);
    gl.uniformMatrix4fv(place.frustum, false, [canvas.height / canvas.width / tangent, 0, 0, 0, 0, 1 / tangent, 0, 0,
      0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0]);
    const lamp = [0, 1, 2].map((k) => 0.35 * right[k] + 0.5 * up[k] + 0.79 * back[k]);
    gl.uniform3fv(place.lamp, lamp);
    gl.uniform3fv(place.upwards, camera.upwards);
    gl.uniform1i(place.shown, shown);
    gl.uniform1i(place.painted, isPainted ? 1 : 0);
    gl.uniform1f(place.exposure, exposure);
    gl.uniform1f(place.distance, distance);
    gl.drawElements(gl.TRIANGLES, mesh.faces.length, gl.UNSIGNED_INT, 0);
  };
  draw.ready = mesh.image ? textureOf(gl, mesh.image).then(() => { isPainted = true; }) : Promise.resolve();
  return draw;
}

// Puts a picture (a Blob, sRGB) into texture unit 0; light is mixed as light.
async function textureOf(gl, image) {
  const bitmap = await createImageBitmap(image, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.SRGB8_ALPHA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
}

// The camera at {azimuth, elevation (degrees), zoom} round a target: axes are {up, first, second}, unit vectors.
function cameraAt(place, axes, target, distance, tangent) {
  const turn = place.azimuth * Math.PI / 180, rise = place.elevation * Math.PI / 180, away = distance / place.zoom;
  const level = [0, 1, 2].map((k) => Math.cos(turn) * axes.first[k] + Math.sin(turn) * axes.second[k]);
  const back = [0, 1, 2].map((k) => Math.cos(rise) * level[k] + Math.sin(rise) * axes.up[k]);
  const right = [0, 1, 2].map((k) => -Math.sin(turn) * axes.first[k] + Math.cos(turn) * axes.second[k]);
  return {eye: [0, 1, 2].map((k) => target[k] + away * back[k]), back, right, up: cross(back, right), tangent,
    distance: away, upwards: axes.up};
}

// Turns `place` ({azimuth, elevation, zoom}) by what is done on an element; calls changed(isMoving).
function turnable(surface, place, changed) {
  const start = {...place}, fingers = new Map();
  let spread = 0;
  const move = (azimuth, elevation, zoom) => {
    place.azimuth = (place.azimuth + azimuth + 720) % 360;
    place.elevation = Math.max(-85, Math.min(85, place.elevation + elevation));
    place.zoom = Math.max(0.3, Math.min(6, place.zoom * zoom));
  };
  const apart = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  surface.addEventListener("pointerdown", (event) => {
    surface.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 2) spread = apart();
  });
  surface.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 1) {
      const turn = 200 / surface.getBoundingClientRect().width;
      move((before[0] - event.clientX) * turn, (event.clientY - before[1]) * turn, 1);
    } else if (fingers.size === 2) {
      const now = apart();
      move(0, 0, now / Math.max(1, spread));
      spread = now;
    }
    changed(true);
  });
  for (const name of ["pointerup", "pointercancel"]) surface.addEventListener(name, (event) => {
    if (fingers.delete(event.pointerId)) changed(false);
  });
  surface.addEventListener("wheel", (event) => {
    if (document.activeElement !== surface) return; // who only scrolls past does not come nearer
    event.preventDefault();
    move(0, 0, Math.exp(-event.deltaY / 600));
    changed(true);
    clearTimeout(surface.wheelEnd);
    surface.wheelEnd = setTimeout(() => changed(false), 250);
  }, {passive: false});
  const keys = {ArrowLeft: [-10, 0, 1], ArrowRight: [10, 0, 1], ArrowUp: [0, 6, 1], ArrowDown: [0, -6, 1],
    "+": [0, 0, 1.15], "=": [0, 0, 1.15], "-": [0, 0, 1 / 1.15]};
  surface.addEventListener("keydown", (event) => {
    if (event.key === "Home" || event.key === "0") Object.assign(place, start);
    else if (keys[event.key]) move(...keys[event.key]);
    else return;
    event.preventDefault();
    changed(false);
  });
}

// Gives a canvas as many pixels as it covers on the screen; returns whether their number changed.
function fitted(canvas) {
  const scale = Math.min(2, devicePixelRatio || 1), frame = canvas.getBoundingClientRect();
  const [width, height] = [Math.max(1, Math.round(frame.width * scale)), Math.max(1, Math.round(frame.height * scale))];
  if (canvas.width === width && canvas.height === height) return false;
  canvas.width = width; canvas.height = height;
  return true;
}
