"""The words the reference models know: countries, topics, everyday English, multibyte samples."""

from __future__ import annotations

CAPITALS = dict(
    pair.split("=")
    for pair in (
        "France=Paris|Germany=Berlin|Italy=Rome|Spain=Madrid|Portugal=Lisbon|Japan=Tokyo"
        "|China=Beijing|India=New Delhi|Egypt=Cairo|Kenya=Nairobi|Norway=Oslo|Sweden=Stockholm"
        "|Finland=Helsinki|Denmark=Copenhagen|Iceland=Reykjavik|Ireland=Dublin|Austria=Vienna"
        "|Hungary=Budapest|Poland=Warsaw|Greece=Athens|Turkey=Ankara|Russia=Moscow|Ukraine=Kyiv"
        "|Romania=Bucharest|Bulgaria=Sofia|Serbia=Belgrade|Croatia=Zagreb|Slovenia=Ljubljana"
        "|Slovakia=Bratislava|Belgium=Brussels|Netherlands=Amsterdam|Switzerland=Bern"
        "|Canada=Ottawa|Mexico=Mexico City|Cuba=Havana|Brazil=Brasilia|Argentina=Buenos Aires"
        "|Chile=Santiago|Peru=Lima|Colombia=Bogota|Ecuador=Quito|Bolivia=Sucre|Uruguay=Montevideo"
        "|Paraguay=Asuncion|Venezuela=Caracas|Panama=Panama City|Australia=Canberra"
        "|New Zealand=Wellington|Thailand=Bangkok|Vietnam=Hanoi|Indonesia=Jakarta"
        "|Malaysia=Kuala Lumpur|Philippines=Manila|South Korea=Seoul|Mongolia=Ulaanbaatar"
        "|Nepal=Kathmandu|Pakistan=Islamabad|Iran=Tehran|Iraq=Baghdad|Israel=Jerusalem"
        "|Jordan=Amman|Lebanon=Beirut|Morocco=Rabat|Algeria=Algiers|Tunisia=Tunis|Ghana=Accra"
        "|Nigeria=Abuja|Ethiopia=Addis Ababa|Senegal=Dakar|England=London|Scotland=Edinburgh"
        "|Wales=Cardiff|the United Kingdom=London|the United States=Washington"
    ).split("|")
)

TOPICS = (
    "rain snow autumn spring summer winter the sea the moon a river a mountain a tree a bird a cat"
    " a dog the wind the sun a train a garden tea silence fog a frog night morning love time"
    " computers llamas"
).split()

COMMON_WORDS = """
the be to of and in that have it for not on with he as you do at this but his by from they we say
her she or an will my one all would there their what so up out if about who get which go me when
make can like time no just him know take people into year your good some could them see other than
then now look only come its over think also back after use two how our work first well way even new
want because any these give day most us are is was were has had been did does done said says made
went gone got getting making coming going being doing having saying here where why again very too
much many more less few little lot big small large great long short high low old young early late
next last same different right wrong left true false open close closed full empty hot cold warm cool
dry wet dark light bright heavy soft hard easy simple quick quickly fast slow slowly quiet loud near
far above below under between among through across along around behind beside before during until
while since against without within upon toward off down away always never often sometimes usually
ever once twice three four five six seven eight nine ten eleven twelve twenty hundred thousand
million half second third zero each every both either neither another such own several whole enough
almost quite rather still yet already soon perhaps maybe please thanks thank yes hello hi hey
goodbye morning evening afternoon night today tomorrow yesterday week month hour minute moment
spring summer autumn winter monday tuesday wednesday thursday friday saturday sunday january
february march april may june july august september october november december man woman child
children boy girl mother father brother sister son daughter friend family baby person men women
king queen doctor teacher student writer artist farmer soldier captain neighbor stranger guest name
word words letter line page book story poem song music picture paint color red blue green yellow
white black brown gray orange purple pink gold silver house home room door window wall floor roof
kitchen table chair bed lamp clock mirror key box bag cup glass plate bottle knife spoon bowl paper
pen pencil phone computer machine engine wheel car bus train plane boat ship bridge road street path
city town village country world land island mountain hill valley river lake sea ocean beach shore
sand stone rock earth ground field farm garden forest wood tree leaf leaves branch root flower grass
seed fruit apple pear grape lemon cherry berry bread butter cheese milk egg rice corn meat fish soup
salt sugar honey tea coffee water wine fire smoke ice snow rain wind storm cloud sky sun moon star
stars air dust mist fog thunder lightning rainbow shadow animal dog cat horse cow sheep goat pig
chicken duck goose bird crow owl eagle mouse rat rabbit fox wolf bear lion tiger elephant monkey
snake frog turtle bee ant spider butterfly whale shark llama camel head face eye eyes ear nose mouth
tooth hair neck hand hands finger arm shoulder heart back leg foot feet knee skin bone blood body
mind voice dream sleep thought idea reason question answer problem test example number sum part
piece side end begin beginning start stop middle center top bottom edge point place space area
school class lesson history science art language english french german letter number game ball play
run walk jump swim fly climb ride drive push pull throw catch carry hold keep put set sit stand lie
rise fall turn move bring send receive buy sell pay cost price money coin bank shop store market
office company job worker boss meeting plan order list letter report law rule state war peace power
force strong weak rich poor happy sad angry afraid brave calm kind gentle proud tired hungry thirsty
sick healthy clean dirty beautiful ugly pretty nice fine bad better best worse worst sure certain
possible important special common rare strange famous public private free busy ready safe dangerous
read write speak talk tell ask answer call listen hear watch show hide find lose win learn teach
study understand remember forget believe hope wish wait stay live die born grow build break fix cut
burn cook eat drink taste smell touch feel love hate laugh cry smile sing dance draw count measure
weigh add multiply divide equal change become seem appear happen help need try let must should might
shall able allow follow lead meet visit leave arrive enter return pass cross reach touch cover open
fill pour mix wash dry hang tie join split share save spend waste choose pick offer accept refuse
agree explain describe repeat compare include contain continue finish complete create develop design
produce provide support protect attack fight kill hurt heal system model data file code program
user server client network message request response error token prompt context cache memory window
layer batch stream index value key type string integer array object field format version update
install download upload load unload run running command script function class method return import
print input output option setting default local remote host port address connection session request
process thread task queue schedule worker pool node cluster device storage disk driver kernel log
event time date level status result success failure warning note info debug trace check state
health metric rate limit count total average maximum minimum size length width height weight speed
capital population named city person animal planet country random letter sentence paragraph summary
translate helpful assistant system brief polite concise expert following above below text document
chapter section title author reader library travel journey adventure discover ancient modern century
culture nature natural human social political national government president people general during
president information research university education experience knowledge quality service product
business market industry technology energy environment climate weather temperature degree distance
direction north south east west map corner square circle line triangle shape form kind sort group
team member leader party crowd audience public community society village population percent although
though however therefore because unless whether whose whom itself himself herself themselves myself
yourself something anything nothing everything someone anyone everyone nobody somewhere anywhere
everywhere together apart alone inside outside upstairs forward backward suddenly finally really
actually probably especially exactly nearly hardly simply clearly certainly carefully easily
doesn don isn wasn couldn wouldn didn won ll ve re lorem ipsum dolor sit amet quick brown
fox jumps over lazy dog yellow submarine hello world foo bar baz alpha beta gamma delta epsilon
silver lantern copper velvet marble pebble meadow willow harbor anchor compass feather ribbon candle
blanket basket hammer ladder bucket saddle button needle thread pocket jacket sweater trousers boots
""".split()

MULTIBYTE = (
    "🌊 🌍 🎉 🚀 🦙 😀 🔥 ☕ ❤ ✨ 🐍 👍 été café naïve façade crème Zürich Ångström señor mañana"
    " übermäßig straße Łódź žluťoučký привет мир Москва γειά κόσμε 你好 世界 東京 水 火 山"
    " 日本 中文 こんにちは さくら 안녕 세계 שלום مرحبا नमस्ते € £ ½ → ∞ π “quoted” — … «bien»"
).split()
