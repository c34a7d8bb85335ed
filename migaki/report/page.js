// Opens a folded section when a link points to it, and all of them before the page is printed.
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", unfold);
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
unfold();

// Enlarges a clicked picture, with its pixels as squares. In a pair, a key switches to the other picture.
const box = document.createElement("dialog");
box.className = "zoom";
box.innerHTML = '<div class="bar"><span></span><button type="button" data-do="other">Other picture</button>' +
  '<button type="button" data-do="smaller" aria-label="Smaller">−</button>' +
  '<button type="button" data-do="larger" aria-label="Larger">+</button>' +
  '<button type="button" data-do="close">Close</button></div><div class="stage"><img alt=""></div>';
document.body.append(box);
const shown = box.querySelector("img"), stage = box.querySelector(".stage"), name = box.querySelector("span");
let group = [], place = 0, scale = 1;
function draw() {
  const image = group[place];
  shown.src = image.src;
  shown.alt = name.textContent = image.dataset.name || "";
  shown.style.width = image.naturalWidth * scale + "px";
  shown.style.imageRendering = image.closest("figure").classList.contains("chart") ? "auto" : "pixelated";
  box.querySelector('[data-do="other"]').hidden = group.length < 2;
}
const actions = {
  other: () => { place = (place + 1) % group.length; draw(); },
  larger: () => { scale = scale < 1 ? 1 : Math.min(16, scale + 1); draw(); },
  smaller: () => { scale = scale > 1 ? scale - 1 : 0.5; draw(); },
  close: () => box.close(),
};
function enlarge(image) {
  group = [...image.closest("figure").querySelectorAll("img")];
  place = group.indexOf(image);
  const room = Math.min(innerWidth * 0.94 / image.naturalWidth, innerHeight * 0.8 / image.naturalHeight);
  scale = Math.max(1, Math.floor(room));
  draw();
  box.showModal();
  stage.scrollTo(0, 0);
}
for (const button of box.querySelectorAll("button")) button.addEventListener("click", actions[button.dataset.do]);
stage.addEventListener("click", (event) => { if (event.target === stage) box.close(); });
box.addEventListener("keydown", (event) => {
  const action = { ArrowLeft: "other", ArrowRight: "other", "+": "larger", "-": "smaller" }[event.key];
  if (action) { event.preventDefault(); actions[action](); }
});

async function copy(text) {
  // Some browsers forbid the clipboard to pages opened from a disk; a hidden text area is the fallback.
  try { await navigator.clipboard.writeText(text); return true; } catch (error) {}
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

// Called once for the page, and again when a served page has replaced its parts.
function bind() {
  for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => setTimeout(unfold));
  for (const image of document.querySelectorAll("figure img")) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.addEventListener("click", () => enlarge(image));
    image.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(image); }
    });
  }
  for (const button of document.querySelectorAll(".code button")) {
    button.addEventListener("click", async () => {
      const done = await copy(button.previousElementSibling.textContent);
      button.textContent = done ? "Copied" : "Select by hand";
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
  }
}
bind();
