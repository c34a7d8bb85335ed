// Functions that all served pages share: requests with the link's token, error messages, pictures as blobs.
const at = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let access = "";
try { access = sessionStorage.getItem("access") || ""; } catch { /* storage may be forbidden */ }
if (location.hash.length > 1 && !document.getElementById(location.hash.slice(1))) {
  // The link's secret follows the #, which is never sent. It is removed from the address bar at once.
  access = decodeURIComponent(location.hash.slice(1));
  try { sessionStorage.setItem("access", access); } catch { /* see above */ }
  history.replaceState(null, "", location.pathname);
}

function trouble(text) {
  at("trouble").hidden = !text;
  at("trouble").textContent = text || "";
}

// Returns the answer to a request; throws an error with the server's message if it refuses.
async function ask(path, body) {
  const headers = access ? {"X-Access": access} : {};
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, {method: body ? "POST" : "GET", headers, cache: "no-store", credentials: "omit",
    body: body && JSON.stringify(body)});
  if (!reply.ok) throw new Error(await reply.json().then((found) => found.error, () => reply.statusText));
  return reply;
}

const json = async (path, body) => (await ask(path, body)).json();

const shownUrls = new Map();
async function showPicture(image, path) {
  const url = URL.createObjectURL(await (await ask(path)).blob());
  if (shownUrls.has(image)) URL.revokeObjectURL(shownUrls.get(image));
  shownUrls.set(image, url);
  image.src = url;
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

// Returns pairs of name and value as a definition list.
function listed(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) list.append(element("dt", name), element("dd", value));
  return list;
}
